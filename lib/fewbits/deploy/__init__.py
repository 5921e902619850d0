"""From a quantized network to a device: integers alone, and files for other runtimes."""
