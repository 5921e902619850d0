/* A dense layer by CMSIS-NN. It cannot fail: its sizes fit, and it needs no buffer. */
static void $function(memory *m, const struct windows *w, void *in, int32_t in_offset, const int8_t *kernel,
                      const int32_t *bias, const int32_t *shifts, int32_t low, int32_t high, void *out,
                      int32_t out_offset)
{
    const cmsis_nn_context context = {m->cmsis_nn, (int32_t)sizeof m->cmsis_nn};
    const cmsis_nn_fc_params params = {in_offset, 0, -out_offset, {low - out_offset, high - out_offset}};
    const cmsis_nn_per_tensor_quant_params scale = {multipliers[0], shifts[0]};
    const cmsis_nn_dims from = {1, 1, 1, w->channels}, biases = {1, 1, 1, w->out_channels};
    const cmsis_nn_dims filters = {w->channels, 1, 1, w->out_channels}, to = {1, 1, 1, w->out_channels};
    if (in_offset)
        flip((uint8_t *)in, w->channels);
    (void)arm_fully_connected_s8(&context, &params, &scale, &from, (const int8_t *)in, &filters, kernel, &biases, bias,
                                 &to, (int8_t *)out);
    if (in_offset)
        flip((uint8_t *)in, w->channels);
    if (out_offset)
        flip((uint8_t *)out, w->out_channels);
}
