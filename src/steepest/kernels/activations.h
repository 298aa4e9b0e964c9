// Activations and their slopes, a vector at a time. Each is off by less than 1e-6 (of the largest of 1, its value and its
// argument), as its slope is by less than 1e-6 of the largest slope.

#pragma once

#include "cpu.h"

namespace {

typedef std::uint32_t Bits __attribute__((vector_size(L * sizeof(std::uint32_t))));

INLINE Vec all(float value) { return value - Vec{}; }
// v within bounds; nan stays nan.
INLINE Vec at_most(Vec v, float bound) { return v > bound ? all(bound) : v; }
INLINE Vec at_least(Vec v, float bound) { return v < bound ? all(bound) : v; }

// 2^v = scale·(1 + rest), for v in [-126, 127]: 1 + rest is 2^f, f in [-½, ½]. The polynomial is the one with the least
// largest error, 9e-8 of |rest| (for |f| above 0.2; below, of its value there), found by linear programming.
INLINE void two_to(Vec v, Vec& scale, Vec& rest) {
    const Vec shifted = v + 0x1.8p23f, f = v - (shifted - 0x1.8p23f);  // the sum is rounded to a whole number
    scale = reinterpret_cast<Vec>((reinterpret_cast<Bits>(shifted) << 23) + 0x3f800000);
    const Vec f2 = f * f;
    rest = (0.693147207f + 0.240222361f * f + (0.0555031607f + 0.00967180859f * f + 0.00134054719f * f2) * f2) * f;
}

INLINE Vec two_to(Vec v) {
    Vec scale, rest;
    two_to(v, scale, rest);
    return scale + scale * rest;
}

constexpr float LOG2E = 1.44269504f;

// |v|; nan stays nan.
INLINE Vec side(Vec v) { return v < 0 ? -v : v; }

// The logistic function, share = 1 / (1 + e^-z), and its slope, share·(1 - share) without a difference of near numbers.
struct Logistic {
    Vec share, slope;
    INLINE Logistic(Vec z) {
        const Vec power = two_to(at_least(side(z) * -LOG2E, -126)), over = 1 / (1 + power), small = power * over;
        share = z < 0 ? small : over;
        slope = small * over;
    }
};

struct None {
    INLINE Vec value(Vec z) const { return z; }
    INLINE Vec slope(Vec) const { return all(1); }
};

struct Relu {
    INLINE Vec value(Vec z) const { return z <= 0 ? Vec{} : z; }
    INLINE Vec slope(Vec z) const { return z > 0 ? all(1) : Vec{}; }
};

struct LeakyRelu {
    float below;
    INLINE Vec value(Vec z) const { return z > 0 ? z : z * below; }
    INLINE Vec slope(Vec z) const { return z > 0 ? all(1) : all(below); }
};

// z·Φ(z), where for u = |z| the normal distribution has Φ(-u) = e^(-u²/2)·h(u) and h(u) = ½·erfcx(u / √2). The polynomial
// for h on [0, 6] is the one with the least largest error of max(1, u)·Φ(-u), 1.3e-7, found by linear programming.
struct Gelu {
    // e^(-u²/2)·(h(u) - turn·u).
    static INLINE Vec tail(Vec u, float turn) {
        const Vec u2 = u * u, u4 = u2 * u2;  // in pairs: one long chain of sums would wait for itself
        const Vec first = 0.499999878f - (0.398932473f + turn) * u + (0.249869565f - 0.132305574f * u) * u2;
        const Vec second = 0.0607017381f - 0.0237628761f * u + (0.00754187192f - 0.00180141579f * u) * u2;
        const Vec third = 0.000295166783f - 2.89954052e-05f * u + 1.27131934e-06f * u2;
        return (first + (second + third * u4) * u4) * two_to(u2 * (-0.5f * LOG2E));
    }
    static INLINE Vec near(Vec z) { return at_most(side(z), 6); }
    INLINE Vec value(Vec z) const {
        const Vec u = near(z);
        return (z < 0 ? Vec{} : z) - u * tail(u, 0);
    }
    INLINE Vec slope(Vec z) const {  // Φ(z) + z·φ(z)
        const Vec below = tail(near(z), 0.398942280f);
        return z < 0 ? below : 1 - below;
    }
};

// z·(½ + ½·tanh v) = z·logistic(2v) with v = √(2/π)·(z + 0.044715·z³).
struct GeluTanh {
    static INLINE Vec near(Vec z) { return at_least(at_most(z, 20), -20); }
    static INLINE Logistic of(Vec z) { return z * (1.59576912f + 0.0713548163f * z * z); }
    INLINE Vec value(Vec z) const { return z * of(near(z)).share; }
    INLINE Vec slope(Vec z) const {
        const Vec u = near(z);
        const Logistic p = of(u);
        return p.share + p.slope * u * (1.59576912f + 3 * 0.0713548163f * u * u);
    }
};

struct Silu {
    INLINE Vec value(Vec z) const { return z * Logistic(z).share; }
    INLINE Vec slope(Vec z) const {
        const Logistic p = z;
        return p.share + p.slope * z;
    }
};

struct Celu {
    float alpha;
    INLINE Vec value(Vec z) const {
        Vec scale, rest;
        two_to(at_least(at_most(z, 0) * (LOG2E / alpha), -126), scale, rest);
        return z > 0 ? z : (scale - 1 + scale * rest) * alpha;
    }
    INLINE Vec slope(Vec z) const {
        return z > 0 ? all(1) : two_to(at_least(at_most(z, 0) * (LOG2E / alpha), -126));
    }
};

// Calls body(activation) for the number that Python has for it.
template <class F>
void with_activation(int kind, float setting, F&& body) {
    switch (kind) {
        case 1: return body(Relu{});
        case 2: return body(LeakyRelu{setting});
        case 3: return body(Gelu{});
        case 4: return body(GeluTanh{});
        case 5: return body(Silu{});
        case 6: return body(Celu{setting});
        default: return body(None{});
    }
}

}  // namespace
