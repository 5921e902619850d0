/* The numbers of $name, for ${name}.c alone. The kernels are (filter, row, column, channel), depthwise ones (row, column,
   channel). */

$numbers
