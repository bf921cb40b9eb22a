"""Frames on the graphics card: one texture each, drawn pixel for pixel through a table of grey levels.

OpenGL 2.1 and nothing else, so that any driver will do, a software renderer's too.
"""

from __future__ import annotations

import ctypes
from types import ModuleType

import numpy as np

from hardware.arrays import AnyArray, GreyFrame
from hardware.protocols import DeviceError

_VERTEX = b"""#version 120
void main() { gl_Position = gl_Vertex; gl_TexCoord[0] = gl_MultiTexCoord0; }
"""
_FRAGMENT = b"""#version 120
uniform sampler2D frame;
uniform sampler2D table;
void main() {
    float level = texture2D(frame, gl_TexCoord[0].st).r;
    gl_FragColor = texture2D(table, vec2((level * 255.0 + 0.5) / 256.0, 0.5));
}
"""


class Canvas:
    """Textures, and quads that show them, in the window that is current.

    Parameters
    ----------
    gl
        The functions of OpenGL under their own names, as ``pyglet.gl`` has them.
    table
        What goes out for each grey level, uint8 (256, 3).
    upside_down, mirrored
        How the monitor hangs; ``draw`` makes up for it.

    Raises
    ------
    DeviceError
        The driver can't compile the shader.
    """

    def __init__(
        self, gl: ModuleType, *, width_px: int, height_px: int, table: AnyArray, upside_down: bool, mirrored: bool
    ) -> None:
        self._gl = gl
        self._width_px, self._height_px = width_px, height_px
        self._x_sign = -1.0 if upside_down != mirrored else 1.0
        self._y_sign = -1.0 if upside_down else 1.0
        self.n_uploads = 0
        self._stream = 0
        self._stream_shape = (0, 0)
        self._stream_used = (0, 0)
        gl.glPixelStorei(gl.GL_UNPACK_ALIGNMENT, 1)
        gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
        gl.glDisable(gl.GL_BLEND)
        gl.glDisable(gl.GL_DEPTH_TEST)
        gl.glDisable(gl.GL_DITHER)
        self._program = self._compiled()
        gl.glActiveTexture(gl.GL_TEXTURE1)
        self._texture(np.ascontiguousarray(table)[None], stored=gl.GL_RGB8, layout=gl.GL_RGB)
        gl.glActiveTexture(gl.GL_TEXTURE0)

    @property
    def renderer(self) -> str:
        """What draws: the graphics card and its driver."""
        words = ctypes.cast(self._gl.glGetString(self._gl.GL_RENDERER), ctypes.c_char_p).value
        return (words or b"unknown renderer").decode("ascii", "replace")

    def upload(self, frame: GreyFrame) -> int:
        """Return a texture of a frame, to be drawn as often as wished."""
        return self._texture(np.ascontiguousarray(frame), stored=self._gl.GL_LUMINANCE8, layout=self._gl.GL_LUMINANCE)

    def make_stream(self, shape: tuple[int, int]) -> None:
        """Make the texture that moving frames, up to this shape, go into one after the other."""
        self._stream = self.upload(np.zeros(shape, np.uint8))
        self._stream_shape = shape

    def stream(self, frame: GreyFrame) -> None:
        """Put a moving frame into its texture."""
        gl = self._gl
        rows, columns = self._stream_used = frame.shape
        frame = np.ascontiguousarray(frame)
        gl.glBindTexture(gl.GL_TEXTURE_2D, self._stream)
        gl.glTexSubImage2D(
            gl.GL_TEXTURE_2D, 0, 0, 0, columns, rows, gl.GL_LUMINANCE, gl.GL_UNSIGNED_BYTE, _pointer(frame)
        )
        self.n_uploads += 1

    def draw_stream(self, box: tuple[int, int, int, int]) -> None:
        """Draw the moving frame that was put in last."""
        (rows, columns), (all_rows, all_columns) = self._stream_used, self._stream_shape
        self.draw(self._stream, box, part=(columns / all_columns, rows / all_rows))

    def draw(
        self,
        texture: int,
        box: tuple[int, int, int, int] | None = None,
        *,
        part: tuple[float, float] = (1.0, 1.0),
        turned: bool = True,
    ) -> None:
        """Draw a texture over the window, or over a box of it: left, top, right, bottom in pixels, row 0 on top.

        ``turned`` says whether it turns with a monitor that hangs upside down or is mirrored: stimuli do, the patch,
        which sits where the photodiode is, does not.
        """
        gl = self._gl
        left, top, right, bottom = box or (0, 0, self._width_px, self._height_px)
        x_sign, y_sign = (self._x_sign, self._y_sign) if turned else (1.0, 1.0)
        x0, x1 = x_sign * (2 * left / self._width_px - 1), x_sign * (2 * right / self._width_px - 1)
        y0, y1 = y_sign * (1 - 2 * top / self._height_px), y_sign * (1 - 2 * bottom / self._height_px)
        s, t = part
        gl.glUseProgram(self._program)
        gl.glBindTexture(gl.GL_TEXTURE_2D, texture)
        gl.glBegin(gl.GL_QUADS)
        gl.glTexCoord2f(0.0, 0.0)
        gl.glVertex2f(x0, y0)
        gl.glTexCoord2f(s, 0.0)
        gl.glVertex2f(x1, y0)
        gl.glTexCoord2f(s, t)
        gl.glVertex2f(x1, y1)
        gl.glTexCoord2f(0.0, t)
        gl.glVertex2f(x0, y1)
        gl.glEnd()
        gl.glUseProgram(0)

    def finish(self) -> None:
        """Wait until all that was asked for is drawn."""
        self._gl.glFinish()

    def read_back(self) -> AnyArray:
        """Return what is drawn and not yet flipped, uint8 (height_px, width_px, 3), row 0 on top."""
        gl = self._gl
        pixels: AnyArray = np.empty((self._height_px, self._width_px, 3), np.uint8)
        gl.glReadPixels(0, 0, self._width_px, self._height_px, gl.GL_RGB, gl.GL_UNSIGNED_BYTE, _pointer(pixels))
        return pixels[::-1]

    def _texture(self, texels: AnyArray, *, stored: int, layout: int) -> int:
        gl = self._gl
        name = gl.GLuint()
        gl.glGenTextures(1, ctypes.byref(name))
        gl.glBindTexture(gl.GL_TEXTURE_2D, name)
        for parameter in (gl.GL_TEXTURE_MIN_FILTER, gl.GL_TEXTURE_MAG_FILTER):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, parameter, gl.GL_NEAREST)
        for parameter in (gl.GL_TEXTURE_WRAP_S, gl.GL_TEXTURE_WRAP_T):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, parameter, gl.GL_CLAMP_TO_EDGE)
        rows, columns = texels.shape[:2]
        gl.glTexImage2D(gl.GL_TEXTURE_2D, 0, stored, columns, rows, 0, layout, gl.GL_UNSIGNED_BYTE, _pointer(texels))
        self.n_uploads += 1
        return int(name.value)

    def _compiled(self) -> int:
        gl = self._gl
        program = gl.glCreateProgram()
        for kind, source in ((gl.GL_VERTEX_SHADER, _VERTEX), (gl.GL_FRAGMENT_SHADER, _FRAGMENT)):
            shader = gl.glCreateShader(kind)
            text = ctypes.cast(ctypes.c_char_p(source), ctypes.POINTER(gl.GLchar))
            gl.glShaderSource(shader, 1, ctypes.byref(text), None)
            gl.glCompileShader(shader)
            gl.glAttachShader(program, shader)
        gl.glLinkProgram(program)
        linked = gl.GLint()
        gl.glGetProgramiv(program, gl.GL_LINK_STATUS, ctypes.byref(linked))
        if not linked.value:
            raise DeviceError(
                device="screen",
                what=f"the driver of {self.renderer} can't compile the shader that shows frames",
                remedy="install the graphics card's own driver; OpenGL 2.1 is enough",
            )
        gl.glUseProgram(program)
        gl.glUniform1i(gl.glGetUniformLocation(program, b"frame"), 0)
        gl.glUniform1i(gl.glGetUniformLocation(program, b"table"), 1)
        gl.glUseProgram(0)
        return int(program)


def _pointer(array: AnyArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
