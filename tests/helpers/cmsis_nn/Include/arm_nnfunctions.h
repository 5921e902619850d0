/* A stand-in for CMSIS-NN: the three functions that we call, with the arithmetic that its documentation tells. */

#ifndef ARM_NNFUNCTIONS_H
#define ARM_NNFUNCTIONS_H

#include <stdint.h>

typedef int arm_cmsis_nn_status;
typedef struct { void *buf; int32_t size; } cmsis_nn_context;
typedef struct { int32_t n, h, w, c; } cmsis_nn_dims;
typedef struct { int32_t w, h; } cmsis_nn_tile;
typedef struct { int32_t min, max; } cmsis_nn_activation;
typedef struct { int32_t *multiplier, *shift; } cmsis_nn_per_channel_quant_params;
typedef struct { int32_t multiplier, shift; } cmsis_nn_per_tensor_quant_params;
typedef struct {
    int32_t input_offset, output_offset;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_conv_params;
typedef struct {
    int32_t input_offset, output_offset, ch_mult;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_dw_conv_params;
typedef struct {
    int32_t input_offset, filter_offset, output_offset;
    cmsis_nn_activation activation;
} cmsis_nn_fc_params;

#ifdef __cplusplus
extern "C" {
#endif

arm_cmsis_nn_status arm_convolve_wrapper_s8(const cmsis_nn_context *context, const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *scales, const cmsis_nn_dims *from,
                                            const int8_t *in, const cmsis_nn_dims *filters, const int8_t *kernel,
                                            const cmsis_nn_dims *biases, const int32_t *bias, const cmsis_nn_dims *to,
                                            int8_t *out);
arm_cmsis_nn_status arm_depthwise_conv_wrapper_s8(const cmsis_nn_context *context,
                                                  const cmsis_nn_dw_conv_params *params,
                                                  const cmsis_nn_per_channel_quant_params *scales,
                                                  const cmsis_nn_dims *from, const int8_t *in,
                                                  const cmsis_nn_dims *filters, const int8_t *kernel,
                                                  const cmsis_nn_dims *biases, const int32_t *bias,
                                                  const cmsis_nn_dims *to, int8_t *out);
arm_cmsis_nn_status arm_fully_connected_s8(const cmsis_nn_context *context, const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *scale, const cmsis_nn_dims *from,
                                           const int8_t *in, const cmsis_nn_dims *filters, const int8_t *kernel,
                                           const cmsis_nn_dims *biases, const int32_t *bias, const cmsis_nn_dims *to,
                                           int8_t *out);

#ifdef __cplusplus
}
#endif

#endif
