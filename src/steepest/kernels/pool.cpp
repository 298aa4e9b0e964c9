// Max-pooling of 2×2 pixels with stride 2, forward and backward, float32, maps as (N, H, W, C).
//
// Forward keeps for each output which of its four pixels it is, in a byte; of equal ones the first, and nan is the largest.
// Backward writes every gradient once. Channels are taken in vectors; the last vector may reach back over the one before
// it, and computes the same numbers again.

#include "cpu.h"

namespace {

template <int N>
struct Lanes {
    typedef float Floats __attribute__((vector_size(N * 4), aligned(4), may_alias));
    typedef std::int32_t Whole __attribute__((vector_size(N * 4)));
    typedef std::uint8_t Bytes __attribute__((vector_size(N), aligned(1), may_alias));
};

// Calls body(number of lanes as a constant), for the widest vector that C channels fill.
template <class F>
void with_lanes(Index c, F&& body) {
    if (c >= L) return body(std::integral_constant<int, L>{});
    if constexpr (L > 8)
        if (c >= 8) return body(std::integral_constant<int, 8>{});
    if (c >= 4) return body(std::integral_constant<int, 4>{});
    body(std::integral_constant<int, 1>{});
}

// Calls body(output row, its image's and pair of rows' first pixel) for the rows of all outputs, (N·(H/2), W/2, C).
template <class F>
void rows(Index n, Index h, Index w, Index c, int threads, F&& body) {
    const Index count = n * (h / 2), some = std::max<Index>(1, (1 << 14) / (w * c));
    divide(threads, (count + some - 1) / some, [&](int, Index job) {
        for (Index row = job * some; row < std::min((job + 1) * some, count); row++)
            body(row, (row / (h / 2) * h + row % (h / 2) * 2) * w * c);
    });
}

// Calls body(channel) for each vector of N lanes.
template <int N, class F>
INLINE void channels(Index c, F&& body) {
    Index v = 0;
    for (; v + N <= c; v += N) body(v);
    if (v < c) body(c - N);
}

}  // namespace

extern "C" {

// y, which (N, H/2, W/2, C) of x (N, H, W, C).
void steepest_pool(const float* x, float* y, std::uint8_t* which, Index n, Index h, Index w, Index c, int threads) {
    with_lanes(c, [&](auto lanes) {
        using V = Lanes<lanes>;
        rows(n, h, w, c, threads, [&](Index row, Index first) {
            for (Index column = 0; column < w / 2; column++)
                channels<lanes>(c, [&](Index v) IN_PLACE {
                    const float* from = x + first + 2 * column * c + v;
                    const Index to = (row * (w / 2) + column) * c + v;
                    auto read = [&](Index at) IN_PLACE { return *reinterpret_cast<const typename V::Floats*>(from + at); };
                    typename V::Floats best = read(0);
                    typename V::Whole index = {};
                    const Index pixels[] = {0, c, w * c, w * c + c};
                    for (int i = 1; i < 4; i++) {
                        const auto next = read(pixels[i]);
                        const typename V::Whole larger = (next > best) | (next != next);
                        best = larger ? next : best;
                        index = larger ? typename V::Whole{} + i : index;
                    }
                    *reinterpret_cast<typename V::Floats*>(y + to) = best;
                    *reinterpret_cast<typename V::Bytes*>(which + to) = __builtin_convertvector(index, typename V::Bytes);
                });
        });
    });
}

// dx (N, H, W, C) of dy and which (N, H/2, W/2, C); 0 in a last row or column that no output has.
void steepest_pool_backward(const float* dy, const std::uint8_t* which, float* dx, Index n, Index h, Index w, Index c,
                            int threads) {
    with_lanes(c, [&](auto lanes) {
        using V = Lanes<lanes>;
        rows(n, h, w, c, threads, [&](Index row, Index first) {
            for (Index column = 0; column < w / 2; column++)
                channels<lanes>(c, [&](Index v) IN_PLACE {
                    const Index from = (row * (w / 2) + column) * c + v;
                    const auto d = *reinterpret_cast<const typename V::Floats*>(dy + from);
                    const auto index = __builtin_convertvector(
                        *reinterpret_cast<const typename V::Bytes*>(which + from), typename V::Whole);
                    const Index pixels[] = {0, c, w * c, w * c + c};
                    for (int i = 0; i < 4; i++)
                        *reinterpret_cast<typename V::Floats*>(dx + first + 2 * column * c + v + pixels[i]) =
                            index == i ? d : typename V::Floats{};
                });
            if (w % 2)
                for (Index r = 1; r <= 2; r++) std::fill_n(dx + first + (r * w - 1) * c, c, 0.f);
            if (h % 2 && row % (h / 2) == h / 2 - 1) std::fill_n(dx + first + 2 * w * c, w * c, 0.f);
        });
    });
}
}
