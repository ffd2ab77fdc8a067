// How the surfaces are lit: from above the viewer's left shoulder. Normals are the viewer's: x to the right, y up, z away.

const HEAD = `#version 300 es
precision highp int;
precision highp float;
uniform float opacity;
in vec4 vClr;
in vec3 vN;
out vec4 color;
`;
const SHADERS = {
  // Vessels and tumors: opaque, with a highlight.
  opaque: `${HEAD}
void main() {
  vec3 n = normalize(vN);
  vec3 light = normalize(vec3(-0.45, 0.75, -1.0));
  float diffuse = max(dot(n, light), 0.0);
  float shine = pow(max(dot(n, normalize(light + vec3(0.0, 0.0, -1.0))), 0.0), 40.0);
  color = vec4(vClr.rgb * (0.42 + 0.66 * diffuse) + 0.22 * shine, opacity);
}`,
  // The liver: glass, clear where it faces the viewer, denser toward its outline.
  glass: `${HEAD}
void main() {
  vec3 n = normalize(vN);
  float edge = 1.0 - abs(n.z);
  float light = 0.8 + 0.3 * max(dot(n, normalize(vec3(-0.45, 0.75, -1.0))), 0.0);
  color = vec4(vClr.rgb * light, min(opacity * (0.7 + 2.2 * edge * edge), 0.9));
}`,
};
