#include "arm_nnfunctions.h"

/* sum * multiplier / 2^(31 - shift), rounded half up, clipped. */
static int8_t scaled(int32_t sum, int32_t multiplier, int32_t shift, int32_t offset, cmsis_nn_activation limits)
{
    const int64_t half = (int64_t)1 << (30 - shift);
    const int32_t code = (int32_t)(((int64_t)sum * multiplier + half) >> (31 - shift)) + offset;
    return (int8_t)(code < limits.min ? limits.min : code > limits.max ? limits.max : code);
}

/* The buffer is scratch: what it holds after a call is no one's. A buffer that is too small is an error of address. */
static void scribble(const cmsis_nn_context *context, int32_t bytes)
{
    for (int32_t i = 0; i < bytes; i++)
        ((volatile char *)context->buf)[i] = 0x5a;
}

arm_cmsis_nn_status arm_convolve_wrapper_s8(const cmsis_nn_context *context, const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *scales, const cmsis_nn_dims *from,
                                            const int8_t *in, const cmsis_nn_dims *filters, const int8_t *kernel,
                                            const cmsis_nn_dims *biases, const int32_t *bias, const cmsis_nn_dims *to,
                                            int8_t *out)
{
    const int32_t products = filters->h * filters->w * filters->c;
    if (context->size < 4 * ((products + 3) / 4 * 4) || filters->n != to->c || filters->c != from->c)
        return -1;
    scribble(context, context->size);
    (void)biases;
    for (int y = 0; y < to->h; y++)
        for (int x = 0; x < to->w; x++)
            for (int f = 0; f < to->c; f++) {
                int32_t sum = bias[f];
                for (int i = 0; i < products; i++) {
                    const int row = y * params->stride.h - params->padding.h + i / filters->c / filters->w * params->dilation.h;
                    const int column = x * params->stride.w - params->padding.w + i / filters->c % filters->w * params->dilation.w;
                    if (row >= 0 && row < from->h && column >= 0 && column < from->w)
                        sum += (in[(row * from->w + column) * from->c + i % filters->c] + params->input_offset) * kernel[f * products + i];
                }
                *out++ = scaled(sum, scales->multiplier[f], scales->shift[f], params->output_offset, params->activation);
            }
    return 0;
}

arm_cmsis_nn_status arm_depthwise_conv_wrapper_s8(const cmsis_nn_context *context,
                                                  const cmsis_nn_dw_conv_params *params,
                                                  const cmsis_nn_per_channel_quant_params *scales,
                                                  const cmsis_nn_dims *from, const int8_t *in,
                                                  const cmsis_nn_dims *filters, const int8_t *kernel,
                                                  const cmsis_nn_dims *biases, const int32_t *bias,
                                                  const cmsis_nn_dims *to, int8_t *out)
{
    if (context->size < 2 * from->c * filters->h * filters->w || from->c * params->ch_mult != to->c || filters->c != to->c)
        return -1;
    scribble(context, context->size);
    (void)biases;
    for (int y = 0; y < to->h; y++)
        for (int x = 0; x < to->w; x++)
            for (int f = 0; f < to->c; f++) {
                int32_t sum = bias[f];
                for (int i = 0; i < filters->h * filters->w; i++) {
                    const int row = y * params->stride.h - params->padding.h + i / filters->w * params->dilation.h;
                    const int column = x * params->stride.w - params->padding.w + i % filters->w * params->dilation.w;
                    if (row >= 0 && row < from->h && column >= 0 && column < from->w)
                        sum += (in[(row * from->w + column) * from->c + f / params->ch_mult] + params->input_offset) * kernel[i * to->c + f];
                }
                *out++ = scaled(sum, scales->multiplier[f], scales->shift[f], params->output_offset, params->activation);
            }
    return 0;
}

arm_cmsis_nn_status arm_fully_connected_s8(const cmsis_nn_context *context, const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *scale, const cmsis_nn_dims *from,
                                           const int8_t *in, const cmsis_nn_dims *filters, const int8_t *kernel,
                                           const cmsis_nn_dims *biases, const int32_t *bias, const cmsis_nn_dims *to,
                                           int8_t *out)
{
    if (filters->n != from->c || filters->c != to->c || params->filter_offset)
        return -1;
    (void)context;
    (void)biases;
    for (int f = 0; f < to->c; f++) {
        int32_t sum = bias[f];
        for (int i = 0; i < filters->n; i++)
            sum += (in[i] + params->input_offset) * kernel[f * filters->n + i];
        out[f] = scaled(sum, scale->multiplier, scale->shift, params->output_offset, params->activation);
    }
    return 0;
}
