/** Programs and buffers of WebGL2 for the map. */

/** A disc for each row. */
export const DISCS = [
  `#version 300 es
  layout(location = 0) in vec2 place;
  layout(location = 1) in vec4 color;
  uniform vec4 view; // middle, and half the canvas in units of the map
  uniform float size;
  out vec4 shade;
  void main() {
    gl_Position = vec4((place - view.xy) / view.zw * vec2(1.0, -1.0), 0.0, 1.0);
    gl_PointSize = size;
    shade = color;
  }`,
  `#version 300 es
  precision highp float;
  in vec4 shade;
  uniform float size;
  out vec4 pixel;
  void main() {
    float distance = length(gl_PointCoord - 0.5) * size;
    float cover = clamp(0.5 * size - distance, 0.0, 1.0);
    float edge = clamp(0.5 * size - 1.0 - distance, 0.0, 1.0);
    pixel = vec4(shade.rgb * mix(0.78, 1.0, edge), 1.0) * (shade.a * cover);
  }`,
] as const;

/** A framed thumbnail for each instance. */
export const PICTURES = [
  `#version 300 es
  layout(location = 0) in vec2 corner; // 0 to 1
  layout(location = 1) in vec4 box; // left, top, width, height in pixels
  layout(location = 2) in vec4 source; // in the texture, 0 to 1
  layout(location = 3) in vec4 color;
  uniform vec2 canvas;
  uniform float frame;
  out vec2 inside;
  out vec4 from;
  out vec2 extent;
  out vec4 shade;
  void main() {
    vec2 at = box.xy - frame + corner * (box.zw + 2.0 * frame);
    gl_Position = vec4((at / canvas * 2.0 - 1.0) * vec2(1.0, -1.0), 0.0, 1.0);
    inside = at - box.xy;
    extent = box.zw;
    from = source;
    shade = color;
  }`,
  `#version 300 es
  precision highp float;
  in vec2 inside;
  in vec4 from;
  in vec2 extent;
  in vec4 shade;
  uniform sampler2D thumbnails;
  out vec4 pixel;
  void main() {
    vec2 share = inside / extent;
    bool isFrame = any(lessThan(share, vec2(0.0))) || any(greaterThan(share, vec2(1.0)));
    vec3 picture = texture(thumbnails, from.xy + clamp(share, 0.005, 0.995) * from.zw).rgb;
    pixel = vec4(isFrame ? shade.rgb : picture, 1.0) * shade.a;
  }`,
] as const;

/** Compiles and links a program. Throws if the driver refuses it. */
export function programOf(gl: WebGL2RenderingContext, [vertex, fragment]: readonly [string, string]) {
  const program = gl.createProgram();
  for (const [type, text] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(`The map cannot be drawn here: ${gl.getProgramInfoLog(program)}`);
  const uniforms = new Map<string, WebGLUniformLocation | null>();
  const uniform = (name: string): WebGLUniformLocation | null => {
    if (!uniforms.has(name)) uniforms.set(name, gl.getUniformLocation(program, name));
    return uniforms.get(name)!;
  };
  return { program, uniform };
}

interface Attribute {
  readonly location: number;
  readonly values: Float32Array | Uint8Array;
  readonly size: number;
  /** 1 for a value of each instance. */
  readonly divisor?: number;
}

/** Makes a buffer of floats, or of bytes as 0 to 1, for an attribute of the bound vertex array. */
export function attribute(gl: WebGL2RenderingContext, { location, values, size, divisor = 0 }: Attribute): WebGLBuffer {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  const isBytes = values instanceof Uint8Array;
  gl.vertexAttribPointer(location, size, isBytes ? gl.UNSIGNED_BYTE : gl.FLOAT, isBytes, 0, 0);
  gl.enableVertexAttribArray(location);
  gl.vertexAttribDivisor(location, divisor);
  return buffer;
}

/** Makes the buffer of boxes and sources, eight floats an instance. */
export function instanced(gl: WebGL2RenderingContext, boxes: Float32Array): WebGLBuffer {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, boxes, gl.DYNAMIC_DRAW);
  for (const location of [1, 2]) {
    gl.vertexAttribPointer(location, 4, gl.FLOAT, false, 32, 16 * (location - 1));
    gl.enableVertexAttribArray(location);
    gl.vertexAttribDivisor(location, 1);
  }
  return buffer;
}
