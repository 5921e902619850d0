/* Reads images from the serial port, the bytes of one after the other, and sends back their codes. */

#include <$name.h>

$held

static bool take(uint8_t *pixels, size_t size, int max_pixel)
{
    if (Serial.readBytes((char *)pixels, size) != size)
        return false;
    for (size_t i = 0; i < size; i++)
        if (pixels[i] > max_pixel)
            return false;
    return true;
}

static void give(const int32_t *codes, int count)
{
    for (int i = 0; i < count; i++) {
        Serial.print((long)codes[i]);
        Serial.print(i + 1 < count ? ' ' : '\n');
    }
}

void setup()
{
    Serial.begin(115200);
}

void loop()
{
    if ($taken) {
        ${name}_run($arguments);
        $given
    }
}
