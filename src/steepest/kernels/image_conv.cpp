// A convolution of maps of few channels, with stride 1 and without padding, and the activation behind it, forward only, maps
// as (N, H, W, C) of float32, those made also of bfloat16: a frozen first layer, whose inputs are few.

#include "activations.h"
#include "bfloat16.h"

#include <new>

namespace {

constexpr int PIXELS = 4;         // of a register block, each times two vectors of outputs
constexpr Index JOB = 1 << 14;  // numbers written by a thread at a time

struct Conv {
    const float *x, *w, *bias;  // w: (k, k, C, up(K, L)·L), the channels past the last 0; bias as long
    Index height, width, c, k, size, lanes;  // of the input's maps; lanes: up(K, L)·L

    // P pixels from x on, G vectors of outputs from `group` on, to y. A last vector with fewer outputs writes into the
    // next pixels, but not past `end`.
    template <int P, int G, class Y, class Act>
    INLINE void pixels(const float* from, Index group, Y* y, const Y* end, Act act) const {
        Vec sum[P][G];
        each<G>([&](auto g) IN_PLACE { each<P>([&](auto p) IN_PLACE { sum[p][g] = load(bias + group + g * L); }); });
        const float* weight = w + group;
        for (Index row = 0; row < size; row++, from += width * c)
            for (Index i = 0; i < size * c; i++, weight += lanes) {
                Vec right[G];
                each<G>([&](auto g) IN_PLACE { right[g] = load(weight + g * L); });
                each<P>([&](auto p) IN_PLACE {
                    const float left = from[p * c + i];
                    each<G>([&](auto g) IN_PLACE { sum[p][g] += right[g] * left; });
                });
            }
        each<P>([&](auto p) IN_PLACE {
            each<G>([&](auto g) IN_PLACE {
                const Vec value = act.value(sum[p][g]);
                Y* to = y + p * k + group + g * L;
                to + L <= end ? store(to, value) : store_first(to, value, std::min<Index>(L, k - group - g * L));
            });
        });
    }

    // A row of outputs: the last vectors first, so that what these write too much is written again.
    template <class Y, class Act>
    void row(const float* from, Y* y, Act act) const {
        const Index wide = width - size + 1;
        const Y* end = y + wide * k;
        auto vectors = [&](auto g, Index group) IN_PLACE {
            Index done = 0;
            for (; done + PIXELS <= wide; done += PIXELS) pixels<PIXELS, g>(from + done * c, group, y + done * k, end, act);
            for (; done < wide; done++) pixels<1, g>(from + done * c, group, y + done * k, end, act);
        };
        Index groups = lanes / L;
        if (groups % 2) vectors(std::integral_constant<int, 1>{}, --groups * L);
        while (groups) vectors(std::integral_constant<int, 2>{}, (groups -= 2) * L);
    }
};

}  // namespace

extern "C" {

// y (N, H - size + 1, W - size + 1, K) = activation(w * x + bias) of x (N, H, W, C), all dense. w: (K, C, size, size), bias:
// K numbers or null. halved: y is of bfloat16, else it is of float32, as x is. Gives 0, or 1 for want of memory.
int steepest_image_conv(const float* x, const float* w, const float* bias, void* y, int halved, Index n, Index h, Index wide, Index c,
                        Index k, Index size, int activation, float setting, int threads) {
    try {
        const Index lanes = up(k, L) * L, taps = size * size;
        std::vector<float> packed((taps * c + 1) * lanes);
        for (Index out = 0; out < k; out++) {
            for (Index in = 0; in < c; in++)
                for (Index tap = 0; tap < taps; tap++)
                    packed[(tap * c + in) * lanes + out] = w[(out * c + in) * taps + tap];
            packed[taps * c * lanes + out] = bias ? bias[out] : 0;
        }
        const Conv conv{x, packed.data(), &packed[taps * c * lanes], h, wide, c, k, size, lanes};
        const Index high = h - size + 1, a_row = (wide - size + 1) * k, rows = n * high;
        const Index some = std::max<Index>(1, JOB / a_row);
        const auto all = [&](auto* maps) {
            with_activation(activation, setting, [&](auto act) {
                divide(threads, up(rows, some), [&](int, Index job) {
                    for (Index row = job * some; row < std::min((job + 1) * some, rows); row++)
                        conv.row(x + (row / high * h + row % high) * wide * c, maps + row * a_row, act);
                });
            });
        };
#ifdef STEEPEST_HALF
        if (halved) return all(static_cast<BFloat16*>(y)), 0;
#endif
        all(static_cast<float*>(y));
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
}
