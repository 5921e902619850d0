/* The pixels under one window, side by side; zeros where it reaches over the border, and `more` zeros behind. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in, int pixel, $patch *patch, int more)
{
$unused    const int top = pixel / w->out_width * w->down - w->top;
    const int left = pixel % w->out_width * w->right - w->left;
    for (int row = 0; row < w->rows; row++)
        for (int column = 0; column < w->columns; column++) {
            const int y = top + row * w->row_step, x = left + column * w->column_step;
            const int inside = y >= 0 && y < w->height && x >= 0 && x < w->width;
            const $code *codes = inside ? ${at}(y * w->width + x) * w->channels$end : $nowhere;
            for (int i = 0; i < w->channels; i++)
                patch[i] = inside ? codes[i] : 0;
            patch += w->channels;
        }
    while (more--)
        *patch++ = 0;
}
