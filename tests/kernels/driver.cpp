// Runs the compiled convolution over small shapes on buffers of the exact size, next to the direct sums in double, for
// the sanitizers. Ends with 1 where a result is off.

#include "conv3x3.cpp"

#include <cmath>
#include <cstdio>

#include "numbers.h"

namespace {

bool close(const std::vector<float>& ours, const std::vector<double>& exact) {
    return within(ours, exact, 2e-5, 0);
}

bool right(Index n, Index h, Index w, Index c, Index k, int pad, int tile, int threads) {
    const Index oh = h + 2 * pad - 2, ow = w + 2 * pad - 2;
    const Index strides[] = {c * 9, 9, 3, 1}, turned[] = {9, c * 9, 3, 1};
    const std::vector<float> x = numbers(n * h * w * c), weight = numbers(k * c * 9), bias = numbers(k);
    const std::vector<float> dy = numbers(n * oh * ow * k);
    std::vector<float> y(dy.size()), dx(x.size()), dw(weight.size());
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
    steepest_conv(x.data(), weight.data(), bias.data(), y.data(), n, h, w, c, k, strides, 0, pad, tile, threads);
    steepest_conv(dy.data(), weight.data(), nullptr, dx.data(), n, oh, ow, k, c, turned, 1, 2 - pad, tile, threads);
    steepest_weight_gradient(x.data(), dy.data(), dw.data(), n, h, w, c, k, strides, pad, tile, threads);
    return close(y, exact_y) && close(dx, exact_dx) && close(dw, exact_dw);
}

}  // namespace

int main() {
    const Index channels[][2] = {{1, 1}, {3, 24}, {17, 5}, {16, 66}};
    int wrong = 0, count = 0;
    for (int pad = 0; pad < 2; pad++)
        for (int tile : {0, 3, 4})
            for (Index side = 3 - 2 * pad; side < 12; side += 3)
                for (auto& [c, k] : channels)
                    for (Index n : {0, 2}) {
                        const int threads = 1 + count++ % 3;
                        if (right(n, side, side + count % 3, c, k, pad, tile, threads)) continue;
                        std::printf("wrong: N %d, H %d, C %d, K %d, padding %d, tile %d\n", int(n), int(side), int(c),
                                    int(k), pad, tile);
                        wrong++;
                    }
    return wrong > 0;
}
