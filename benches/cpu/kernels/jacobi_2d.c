/* Each point becomes the mean of itself and its neighbours, in a second grid. */
#include "kernel.h"
#define N 600
#define STEPS 500
static double A[N][N], B[N][N];

static void
step(double to[N][N], double from[N][N])
{
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++)
            to[i][j] = 0.2 * (from[i][j] + from[i][j - 1] + from[i][j + 1] + from[i + 1][j] + from[i - 1][j]);
}

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            A[i][j] = B[i][j] = next_fraction();
    for (int t = 0; t < STEPS; t++) {
        step(B, A);
        step(A, B);
    }
    report(A, sizeof(A));
}
