// Batch norm and the activation behind it in one, and activations alone: forward and backward, maps as (N·H·W, C) of float32,
// a norm's also of bfloat16; what is computed is float32.
//
// The maps are one long row of numbers in which the channels repeat after C. A period is the least multiple of C that
// is a whole number of vectors, so that whatever C is, vectors are full and each has its own vector of scales; what is
// left at the end of the maps is less than a period. Blocks of periods are shared out between the threads, and a block's
// sums depend on neither their number nor their order: any number of threads gives the same bits.

#include "activations.h"
#include "bfloat16.h"

#include <cmath>
#include <new>
#include <numeric>

namespace {

constexpr int STRIP = 8;           // vectors whose sums are in registers at once
constexpr Index BLOCK = 1 << 15;  // numbers, which stay in a core's cache
constexpr Index LONGEST = 512;    // periods in a block: so few numbers are added up in float

struct Shape {
    Index rows, c, total, period, count, tail, block, blocks, jobs;  // count: of periods; tail: numbers after the last

    Shape(Index rows, Index c) : rows(rows), c(c), total(rows * c), period(c * (L / std::gcd<Index>(L, c))) {
        while (period < STRIP * L) period *= 2;
        count = total / period;
        tail = total % period;
        block = std::clamp<Index>(BLOCK / period, 1, LONGEST);
        blocks = (count + block - 1) / block;
        jobs = blocks + (tail > 0);
    }

    float length(Index job) const { return float(std::min(block, count - job * block)); }

    // body(position, lane in the period, numbers) for each vector of a job: a block, or after all of them the tail.
    template <class F>
    INLINE void vectors(Index job, F&& body) const {
        for (Index row = job * block; row < std::min((job + 1) * block, count); row++)
            for (Index v = 0; v < period; v += L) body(row * period + v, v, Index(L));
        if (job == blocks)
            for (Index v = 0; v < tail; v += L) body(count * period + v, v, std::min<Index>(L, tail - v));
    }

    // A number for each channel, repeated over the period.
    template <class F>
    std::vector<float> repeated(F&& of) const {
        std::vector<float> made(period);
        for (Index v = 0; v < c; v++) made[v] = float(of(v));
        for (Index v = c; v < period; v++) made[v] = made[v - c];
        return made;
    }
};

template <class T>
INLINE Vec load_some(const T* p, Index count) {
    return count == L ? load(p) : load_first(p, count);
}
template <class T>
INLINE void store_some(T* p, Vec v, Index count, bool past = false) {
    if (count < L) return store_first(p, v, count);
    past ? stream(p, v) : store(p, v);
}

// For each block two sums over its periods, of what `terms` gives for a position and its place in the period.
template <class F>
INLINE void two_sums(const Shape& s, Index job, float* sums, F&& terms) {
    const Index from = job * s.block, to = std::min(from + s.block, s.count);
    for (Index v = 0; v < s.period; v += STRIP * L) {
        const Index rest = (s.period - v) / L;
        Vec a[STRIP] = {}, b[STRIP] = {};
        for (Index row = from; row < to; row++)
            each<STRIP>([&](auto i) IN_PLACE {
                if (i < rest) terms(row * s.period + v + i * L, v + i * L, Index(L), a[i], b[i]);
            });
        for (Index i = 0; i < std::min<Index>(STRIP, rest); i++)
            store(sums + v + i * L, a[i]), store(sums + s.period + v + i * L, b[i]);
    }
}

// Each channel's mean and (biased) variance. A block is gone over twice, the second time in the cache: for its own mean,
// then for the distances to that, which lie about 0.
template <class X>
void moments(const X* x, const Shape& s, std::vector<double>& mean, std::vector<double>& variance, int threads) {
    std::vector<float> sums(s.blocks * 3 * s.period);
    divide(threads, s.blocks, [&](int, Index job) {
        const X* first = x + job * s.block * s.period;
        float *sum = &sums[job * 3 * s.period], *middle = sum + 2 * s.period;
        two_sums(s, job, sum, [&](Index at, Index v, Index, Vec& a, Vec&) IN_PLACE { a += load(x + at) - load(first + v); });
        for (Index v = 0; v < s.period; v++) middle[v] = first[v] + sum[v] / s.length(job);
        two_sums(s, job, sum, [&](Index at, Index v, Index, Vec& a, Vec& b) IN_PLACE {
            const Vec d = load(x + at) - load(middle + v);
            a += d;
            b += d * d;
        });
    });
    std::vector<double> means(s.period), squares(s.period);
    auto blocks = [&](auto&& body) {
        for (Index job = 0; job < s.blocks; job++) {
            const float *sum = &sums[job * 3 * s.period], *square = sum + s.period, *middle = square + s.period;
            const double n = s.length(job), over = 1 / n;
            for (Index v = 0; v < s.period; v++) body(v, n, over, double(middle[v]), double(sum[v]), double(square[v]));
        }
    };
    const X* rest = x + s.count * s.period;
    blocks([&](Index v, double n, double, double middle, double sum, double) { means[v] += n * middle + sum; });
    for (Index v = 0; v < s.tail; v++) means[v] += rest[v];
    for (Index v = 0; v < s.period; v++) mean[v % s.c] += means[v];
    for (Index v = 0; v < s.c; v++) mean[v] /= double(s.rows);
    for (Index v = 0; v < s.period; v++) means[v] = mean[v % s.c];
    blocks([&](Index v, double n, double over, double middle, double sum, double square) {
        const double part = sum * over, d = middle + part - means[v];
        squares[v] += std::max(0., square - sum * part) + n * d * d;
    });
    for (Index v = 0; v < s.tail; v++) squares[v] += (rest[v] - means[v]) * (rest[v] - means[v]);
    for (Index v = 0; v < s.period; v++) variance[v % s.c] += squares[v];
    for (Index v = 0; v < s.c; v++) variance[v] /= double(s.rows);
}

// The mean as a sum of two floats, so that the distance to a mean far from 0 is exact, and 1 / √(variance + ε).
struct Statistics {
    const float *high, *low, *over;
    Statistics(const float* saved, Index c) : high(saved), low(saved + c), over(saved + 2 * c) {}
};

// (x - mean)·scale + offset, for any place in the period.
struct Normal {
    std::vector<float> mean, scale, offset;

    Normal(const Shape& s, const Statistics& of, const float* weight, const float* bias) {
        auto by = [&](Index v) { return (weight ? double(weight[v]) : 1.) * of.over[v]; };
        mean = s.repeated([&](Index v) { return of.high[v]; });
        scale = s.repeated(by);
        offset = s.repeated([&](Index v) { return (bias ? double(bias[v]) : 0.) - of.low[v] * by(v); });
    }
    INLINE Vec centred(Vec x, Index v) const { return x - load(&mean[v]); }
    INLINE Vec of(Vec centred, Index v) const { return centred * load(&scale[v]) + load(&offset[v]); }
};

template <class X, class Y, class Act>
void norm(const X* x, Y* y, const Shape& s, const Normal& normal, Act act, int threads) {
    const bool past = streams(y, s.total, L);
    divide(threads, s.jobs, [&](int, Index job) {
        s.vectors(job, [&](Index at, Index v, Index count) IN_PLACE {
            store_some(y + at, act.value(normal.of(normal.centred(load_some(x + at, count), v), v)), count, past);
        });
    });
}

template <class X, class Y, class Act>
void norm_backward(const X* x, const Y* dy, X* dx, const Shape& s, const Statistics& of, const Normal& normal, float* d_weight,
                   float* d_bias, Act act, int threads) {
    std::vector<float> sums(s.jobs * 2 * s.period);
    auto terms = [&](Index at, Index v, Index count, Vec& a, Vec& b) IN_PLACE {
        const Vec centred = normal.centred(load_some(x + at, count), v);
        const Vec g = load_some(dy + at, count) * act.slope(normal.of(centred, v));
        if (dx) store_some(dx + at, g, count);
        a += g;
        b += g * centred;
    };
    divide(threads, s.jobs, [&](int, Index job) {
        float* sum = &sums[job * 2 * s.period];
        if (job < s.blocks) return two_sums(s, job, sum, terms);
        s.vectors(job, [&](Index at, Index v, Index count) {
            Vec a = {}, b = {};
            terms(at, v, count, a, b);
            store(sum + v, a), store(sum + s.period + v, b);
        });
    });
    std::vector<double> whole(2 * s.period), g(s.c), g_centred(s.c);
    for (Index job = 0; job < s.jobs; job++)
        for (Index v = 0; v < 2 * s.period; v++) whole[v] += sums[job * 2 * s.period + v];
    for (Index v = 0; v < s.period; v++) g[v % s.c] += whole[v], g_centred[v % s.c] += whole[s.period + v];
    for (Index v = 0; v < s.c; v++) g_centred[v] -= of.low[v] * g[v];
    for (Index v = 0; v < s.c; v++) {
        if (d_weight) d_weight[v] = float(g_centred[v] * of.over[v]);
        if (d_bias) d_bias[v] = float(g[v]);
    }
    if (!dx) return;
    const double over = 1 / double(s.rows);
    auto slope = [&](Index v) { return -double(normal.scale[v]) * of.over[v] * of.over[v] * g_centred[v] * over; };
    const std::vector<float> by = s.repeated(slope), plus = s.repeated([&](Index v) {
        return -double(normal.scale[v]) * g[v] * over - slope(v) * of.low[v];
    });
    divide(threads, s.jobs, [&](int, Index job) {
        s.vectors(job, [&](Index at, Index v, Index count) IN_PLACE {
            const Vec centred = normal.centred(load_some(x + at, count), v);
            const Vec d = load_some(dx + at, count);
            store_some(dx + at, d * load(&normal.scale[v]) + (centred * load(&by[v]) + load(&plus[v])), count);
        });
    });
}

// out[i] = body(vector at i) over `total` numbers.
template <class F>
void pointwise(float* out, Index total, int threads, F&& body) {
    divide(threads, (total + BLOCK - 1) / BLOCK, [&](int, Index job) {
        const Index from = job * BLOCK, to = std::min(from + BLOCK, total), whole = to - (to - from) % L;
        for (Index i = from; i < whole; i += L) store(out + i, body(i, Index(L)));
        if (whole < to) store_first(out + whole, body(whole, to - whole), to - whole);
    });
}

// Calls body(one of x's numbers, one of y's) for the number that Python has for both.
template <class F>
void with_maps(int halved, F&& body) {
#ifdef STEEPEST_HALF
    if (halved == 1) return body(BFloat16{}, 0.f);
    if (halved == 2) return body(BFloat16{}, BFloat16{});
#endif
    body(0.f, 0.f);
}

template <class T>
const T* at(T, const void* p) {
    return static_cast<const T*>(p);
}
template <class T>
T* at(T, void* p) {
    return static_cast<T*>(p);
}

// Runs body; 1 for want of memory, else 0.
template <class F>
int guarded(F&& body) {
    try {
        body();
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

}  // namespace

extern "C" {

// y = activation(batch norm(x)), of x (rows, C). halved: 0: both are of float32; 1: x is of bfloat16; 2: both are. weight,
// bias: C numbers, or null for 1 and 0. training: with the statistics of x, which go to saved (3, C); the running ones,
// unless null, take `momentum` of them. Otherwise with the running ones.
int steepest_norm(const void* x, void* y, int halved, Index rows, Index c, const float* weight, const float* bias, float* running_mean,
                  float* running_variance, float* saved, double momentum, double eps, int training, int activation,
                  float setting, int threads) {
    return guarded([&] {
        const Shape s(rows, c);
        std::vector<double> mean(c), variance(c);
        if (training) with_maps(halved, [&](auto of_x, auto) { moments(at(of_x, x), s, mean, variance, threads); });
        for (Index v = 0; v < c; v++) {
            if (!training) mean[v] = running_mean[v], variance[v] = running_variance[v];
            if (training && running_mean) {
                const double unbiased = variance[v] * (double(rows) / double(rows - 1));
                running_mean[v] = float(running_mean[v] * (1 - momentum) + mean[v] * momentum);
                running_variance[v] = float(running_variance[v] * (1 - momentum) + unbiased * momentum);
            }
            saved[v] = float(mean[v]);
            saved[c + v] = float(mean[v] - saved[v]);
            saved[2 * c + v] = float(1 / std::sqrt(variance[v] + eps));
        }
        const Normal normal(s, Statistics(saved, c), weight, bias);
        with_maps(halved, [&](auto of_x, auto of_y) {
            with_activation(activation, setting, [&](auto act) { norm(at(of_x, x), at(of_y, y), s, normal, act, threads); });
        });
    });
}

// The gradients of a forward pass in training: dx (rows, C) as x is, d_weight and d_bias (C), each unless null; dy is as y was.
int steepest_norm_backward(const void* x, const void* dy, void* dx, int halved, Index rows, Index c, const float* weight,
                           const float* bias, const float* saved, float* d_weight, float* d_bias, int activation,
                           float setting, int threads) {
    return guarded([&] {
        const Shape s(rows, c);
        const Statistics of(saved, c);
        const Normal normal(s, of, weight, bias);
        with_maps(halved, [&](auto of_x, auto of_y) {
            with_activation(activation, setting, [&](auto act) {
                norm_backward(at(of_x, x), at(of_y, dy), at(of_x, dx), s, of, normal, d_weight, d_bias, act, threads);
            });
        });
    });
}

// y = activation(x), of any `total` numbers.
void steepest_activation(const float* x, float* y, Index total, int activation, float setting, int threads) {
    with_activation(activation, setting, [&](auto act) {
        pointwise(y, total, threads, [&](Index i, Index count) IN_PLACE { return act.value(load_some(x + i, count)); });
    });
}

void steepest_activation_backward(const float* x, const float* dy, float* dx, Index total, int activation, float setting,
                                  int threads) {
    with_activation(activation, setting, [&](auto act) {
        pointwise(dx, total, threads, [&](Index i, Index count) IN_PLACE {
            return load_some(dy + i, count) * act.slope(load_some(x + i, count));
        });
    });
}
}
