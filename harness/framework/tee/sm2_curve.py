"""Arithmetic on the recommended curve of SM2, y² = x³ - 3x + b, in Jacobian coordinates."""

from typing import NamedTuple


class Point(NamedTuple):
    """An affine point other than infinity."""

    x: int
    y: int


# GB/T 32918.5-2017.
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
G = Point(
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
PARAMETERS = b"".join(value.to_bytes(32) for value in (A, B, G.x, G.y))

# x = X/Z², y = Y/Z³; Z = 0 is infinity.
_Jacobian = tuple[int, int, int]
_INFINITY: _Jacobian = (1, 1, 0)


def decode(raw: bytes) -> Point | None:
    """The point of 64 bytes, or None when it isn't on the curve."""
    if len(raw) != 64:
        return None
    x, y = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    if x >= P or y >= P or (y * y - (x * x + A) * x - B) % P:
        return None
    return Point(x, y)


def encode(point: Point) -> bytes:
    """64 bytes: x then y."""
    return point.x.to_bytes(32) + point.y.to_bytes(32)


def multiply(scalar: int, point: Point) -> Point:
    """``scalar`` times ``point``, for a scalar that isn't a multiple of the order."""
    result = combine(0, scalar, point)
    if result is None:
        raise ValueError("the scalar is a multiple of the curve's order")
    return result


def combine(s: int, t: int, point: Point) -> Point | None:
    """s·G + t·point (Shamir's trick: one chain of doublings for both), None for infinity."""
    lone = (point.x, point.y, 1)
    table = (_INFINITY, lone, (G.x, G.y, 1), _add((G.x, G.y, 1), lone))
    result = _INFINITY
    for bit in reversed(range(max(s.bit_length(), t.bit_length()))):
        result = _double(result)
        choice = (s >> bit & 1) << 1 | t >> bit & 1
        if choice:
            result = _add(result, table[choice])
    return _affine(result)


def _double(point: _Jacobian) -> _Jacobian:
    """dbl-2001-b of the Explicit-Formulas Database (a = -3)."""
    x, y, z = point
    if not z or not y:
        return _INFINITY
    delta = z * z % P
    gamma = y * y % P
    beta = x * gamma % P
    alpha = 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    z3 = 2 * y * z % P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, z3


def _add(left: _Jacobian, right: _Jacobian) -> _Jacobian:
    """add-1998-cmo-2 of the Explicit-Formulas Database."""
    x1, y1, z1 = left
    x2, y2, z2 = right
    if not z1:
        return right
    if not z2:
        return left
    z1z1, z2z2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * z2z2 % P, x2 * z1z1 % P
    s1, s2 = y1 * z2 * z2z2 % P, y2 * z1 * z1z1 % P
    if u1 == u2:
        return _double(left) if s1 == s2 else _INFINITY
    h, r = (u2 - u1) % P, (s2 - s1) % P
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, z1 * z2 * h % P


def _affine(point: _Jacobian) -> Point | None:
    x, y, z = point
    if not z:
        return None
    inverse = pow(z, -1, P)
    square = inverse * inverse % P
    return Point(x * square % P, y * square * inverse % P)
