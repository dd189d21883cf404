// Parameters of a crop, in the order of the buffer `parameters`.

const PARAMETERS = 18u;
const SLOT = 0u;        // which of the pictures
const STRIDE = 1u;      // its columns
const TOP = 2u;         // the window that is cut out of it, in pixels
const LEFT = 3u;
const HEIGHT = 4u;
const WIDTH = 5u;
const FLIP = 6u;        // 1 mirrors the crop
const ADJUST = 7u;      // four changes of colour in turn: 0 none, 1 brightness, 2 contrast, 3 saturation, 4 hue
const FACTOR = 11u;     // and how far each goes
const GRAY = 15u;       // 1 leaves the luminance only
const BLUR = 16u;       // standard deviation in pixels; 0 none
const SOLARIZE = 17u;   // levels from here on are inverted
