// Runs the compiled convolution over small shapes on buffers of the exact size, next to the direct sums in double, for
// the sanitizers. Ends with 1 where a result is off. Its products are of float32, with -DHALVES of halves.

#include "conv3x3.h"

#include <cmath>
#include <cstdio>

#include "numbers.h"

namespace {

#ifdef HALVES
using Number = Half;
using T = BFloat16;
#else
using Number = float;
using T = float;
#endif

bool right(Index n, Index h, Index w, Index c, Index k, int pad, int tile, int threads) {
    const Index oh = h + 2 * pad - 2, ow = w + 2 * pad - 2;
    const Index strides[] = {c * 9, 9, 3, 1};
    state = 1;  // each case has the same numbers, whichever ran before
    auto close = [](const auto& ours, const std::vector<double>& exact) {
        return within(std::vector<float>(ours.begin(), ours.end()), exact, PAIR<Number> == 1 ? 2e-5 : 6e-2, 0);
    };
    const std::vector<float> weight = numbers(k * c * 9), bias = numbers(k);
    const std::vector<T> x = maps<T>(numbers(n * h * w * c)), dy = maps<T>(numbers(n * oh * ow * k));
    std::vector<T> y(dy.size()), dx(x.size());
    std::vector<float> dw(weight.size());
    std::vector<double> exact_y(dy.size()), exact_dx(x.size()), exact_dw(weight.size());
    for (Index image = 0; image < n; image++)
        for (Index row = 0; row < oh; row++)
            for (Index column = 0; column < ow; column++)
                for (Index out = 0; out < k; out++) {
                    const Index to = ((image * oh + row) * ow + column) * k + out;
                    exact_y[to] = bias[out];
                    for (Index i = 0; i < 9; i++) {
                        const Index from_row = row + i / 3 - pad, from_column = column + i % 3 - pad;
                        if (from_row < 0 || from_row >= h || from_column < 0 || from_column >= w) continue;
                        for (Index in = 0; in < c; in++) {
                            const Index at = ((image * h + from_row) * w + from_column) * c + in, tap = (out * c + in) * 9 + i;
                            exact_y[to] += double(x[at]) * weight[tap];
                            exact_dx[at] += double(dy[to]) * weight[tap];
                            exact_dw[tap] += double(dy[to]) * x[at];
                        }
                    }
                }
    conv<Number>(x.data(), weight.data(), bias.data(), y.data(), nullptr, n, h, w, c, k, strides, pad, 0, tile, threads);
    conv_input_gradient<Number>(dy.data(), nullptr, weight.data(), dx.data(), n, h, w, c, k, strides, pad, tile, threads);
    conv_weight_gradient<Number>(x.data(), dy.data(), nullptr, dw.data(), n, h, w, c, k, strides, pad, tile, threads);
    if (!close(y, exact_y) || !close(dx, exact_dx) || !close(dw, exact_dw)) return false;

    if (oh < 2 || ow < 2) return true;
    // A pool behind it computes the same as one apart from it.
    const Index outs = n * (oh / 2) * (ow / 2) * k;
    const std::vector<T> d = maps<T>(numbers(outs));
    std::vector<T> largest(outs), full(y.size());
    std::vector<std::uint8_t> which(n * (oh / 2) * (ow / 2) * choice_bytes(k));
    conv<Number>(x.data(), weight.data(), bias.data(), largest.data(), which.data(), n, h, w, c, k, strides, pad, 1, tile, threads);
    std::vector<double> exact(outs), other_dx(x.size()), other_dw(weight.size());
    for (Index out = 0; out < outs; out++) {
        const Index channel = out % k, column = out / k % (ow / 2), row = out / k / (ow / 2) % (oh / 2);
        auto at = [&](Index i) { return ((out / k / (ow / 2) / (oh / 2) * oh + 2 * row + i / 2) * ow + 2 * column + i % 2) * k + channel; };
        exact[out] = std::max({exact_y[at(0)], exact_y[at(1)], exact_y[at(2)], exact_y[at(3)]});
        full[at(which[out / k * choice_bytes(k) + channel / 4] >> channel % 4 * 2 & 3)] = d[out];
    }
    conv_input_gradient<Number>(full.data(), nullptr, weight.data(), dx.data(), n, h, w, c, k, strides, pad, tile, threads);
    conv_weight_gradient<Number>(x.data(), full.data(), nullptr, dw.data(), n, h, w, c, k, strides, pad, tile, threads);
    std::copy(dx.begin(), dx.end(), other_dx.begin());
    std::copy(dw.begin(), dw.end(), other_dw.begin());
    conv_input_gradient<Number>(d.data(), which.data(), weight.data(), dx.data(), n, h, w, c, k, strides, pad, tile, threads);
    conv_weight_gradient<Number>(x.data(), d.data(), which.data(), dw.data(), n, h, w, c, k, strides, pad, tile, threads);
    return close(largest, exact) && close(dx, other_dx) && close(dw, other_dw);
}

}  // namespace

int main() {
    const Index channels[][2] = {{1, 1}, {3, 24}, {17, 5}, {16, 66}, {66, 65}, {34, 18}};
    int wrong = 0, count = 0;
    for (int pad = 0; pad < 2; pad++)
        for (int tile : {0, 3, 4, 6})
            for (Index side = 3 - 2 * pad; side < 12; side += 3)
                for (auto& [c, k] : channels)
                    for (Index n : {0, 2}) {
                        const int threads = 1 + count++ % 3;
                        const Index wide = side + count % 3;
                        if (c % PAIR<Number> || k % PAIR<Number> || right(n, side, wide, c, k, pad, tile, threads)) continue;
                        std::printf("wrong: N %d, H %d, C %d, K %d, padding %d, tile %d\n", int(n), int(side), int(c),
                                    int(k), pad, tile);
                        wrong++;
                    }
    return wrong > 0;
}
