/* A convolution by CMSIS-NN. It cannot fail: its sizes fit, and the buffer is as large as it demands. */
static void $function(memory *m, const struct windows *w, void *in, int32_t in_offset, const int8_t *kernel,
                      const int32_t *bias, const int32_t *shifts, int32_t low, int32_t high, void *out,
                      int32_t out_offset)
{
    const cmsis_nn_context context = {m->cmsis_nn, (int32_t)sizeof m->cmsis_nn};
    const $params params = {
        in_offset, -out_offset,$multiplier
        {w->right, w->down}, {w->left, w->top}, {w->column_step, w->row_step},
        {low - out_offset, high - out_offset},
    };
    const cmsis_nn_per_channel_quant_params scales = {(int32_t *)multipliers, (int32_t *)shifts};
    const cmsis_nn_dims from = {1, w->height, w->width, w->channels}, biases = {1, 1, 1, w->out_channels};
    const cmsis_nn_dims filters = {$filters, w->rows, w->columns, $channels};
    const cmsis_nn_dims to = {1, w->out_height, w->out_width, w->out_channels};
    if (in_offset)
        flip((uint8_t *)in, w->height * w->width * w->channels);
    (void)$call(&context, &params, &scales, &from, (const int8_t *)in, &filters, kernel, &biases, bias, &to,
                (int8_t *)out);
    if (in_offset)
        flip((uint8_t *)in, w->height * w->width * w->channels);
    if (out_offset)
        flip((uint8_t *)out, w->out_height * w->out_width * w->out_channels);
}
