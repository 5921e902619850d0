/* The numbers of $name, which only $name.c reads.
   The kernels are (filter, row, column, channel), depthwise ones (row, column, channel). */

$numbers
