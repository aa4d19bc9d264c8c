/* Folding of RNA: dynamic programming over a triangle. */
#include "kernel.h"
#define N 1100
static int32_t best[N][N];
static uint8_t base[N];

static inline int32_t
most(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

int
main(void)
{
    for (int i = 0; i < N; i++)
        base[i] = next_number() % 4;
    for (int i = N - 1; i >= 0; i--)
        for (int j = i + 1; j < N; j++) {
            best[i][j] = most(best[i][j - 1], i + 1 < N ? best[i + 1][j] : 0);
            if (i < j - 1)
                best[i][j] = most(best[i][j], best[i + 1][j - 1] + (base[i] + base[j] == 3));
            for (int k = i + 1; k < j; k++)
                best[i][j] = most(best[i][j], best[i][k] + best[k + 1][j]);
        }
    report(best, sizeof(best));
}
