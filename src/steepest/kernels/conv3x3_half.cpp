// The same functions with their products of halves, where the processor has them, and maps of bfloat16. C and K are even.
// They give 2 where a product, or a sum, is larger than any half: what was written is then of no use.

#include "conv3x3.h"

#ifdef STEEPEST_HALF
extern "C" {

int steepest_half_conv(const BFloat16* x, const float* w, const float* bias, BFloat16* y, std::uint8_t* which, Index n, Index h,
                       Index wide, Index c, Index k, const Index* strides, int pad, int pool, int tile, int threads) {
    return conv<Half>(x, w, bias, y, which, n, h, wide, c, k, strides, pad, pool, tile, threads);
}

int steepest_half_input_gradient(const BFloat16* dy, const std::uint8_t* which, const float* w, BFloat16* dx, Index n, Index h,
                                 Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_input_gradient<Half>(dy, which, w, dx, n, h, wide, c, k, strides, pad, tile, threads);
}

int steepest_half_weight_gradient(const BFloat16* x, const BFloat16* dy, const std::uint8_t* which, float* dw, Index n, Index h,
                                  Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_weight_gradient<Half>(x, dy, which, dw, n, h, wide, c, k, strides, pad, tile, threads);
}
}
#endif
