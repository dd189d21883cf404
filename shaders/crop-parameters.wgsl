// Parameters of a crop, in the order of the buffer `parameters`.

const PARAMETERS = 22u;
const SLOT = 0u;        // which of the pictures
const HIGH = 1u;        // its rows
const STRIDE = 2u;      // its columns
const TOP = 3u;         // the first pixel of the window that is cut out of it, in pixels
const LEFT = 4u;
const HEIGHT = 5u;      // the size of the window
const WIDTH = 6u;
const COS = 7u;         // of the angle by which the window is turned
const SIN = 8u;
const FLIP = 9u;        // 1 mirrors the crop
const FLIP_VERTICAL = 10u;  // 1 turns it upside down, mirrored
const ADJUST = 11u;     // four changes of colour in turn: 0 none, 1 brightness, 2 contrast, 3 saturation, 4 hue
const FACTOR = 15u;     // and how far each goes
const GRAY = 19u;       // 1 leaves the luminance only
const BLUR = 20u;       // standard deviation in pixels; 0 none
const SOLARIZE = 21u;   // levels from here on are inverted
