/* Four points of the Mandelbrot set at a time. */
#include "kernel.h"
#define SIDE 1600
#define DEEPEST 256

typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

static int32_t depth[SIDE][SIDE];

int
main(void)
{
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column += 4) {
            floats first = { 0, 1, 2, 3 };
            floats re = (first + (float)column) * (3.0f / SIDE) - 2.0f;
            floats im = (floats){ 0 } + ((float)row * (2.0f / SIDE) - 1.0f);
            floats x = { 0 }, y = { 0 };
            ints steps = { 0 };
            for (int i = 0; i < DEEPEST; i++) {
                floats x2 = x * x, y2 = y * y;
                ints inside = x2 + y2 < 4.0f;
                if (!(inside[0] | inside[1] | inside[2] | inside[3]))
                    break;
                steps -= inside;
                y = 2.0f * x * y + im;
                x = x2 - y2 + re;
            }
            memcpy(&depth[row][column], &steps, sizeof(steps));
        }
    report(depth, sizeof(depth));
}
