/* Heat in a cube. */
#include "kernel.h"
#define N 80
#define STEPS 180
static double A[N][N][N], B[N][N][N];

static void
step(double to[N][N][N], double from[N][N][N])
{
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++)
            for (int k = 1; k < N - 1; k++) {
                double here = from[i][j][k];
                to[i][j][k] = here + 0.125 * (from[i + 1][j][k] - 2.0 * here + from[i - 1][j][k])
                              + 0.125 * (from[i][j + 1][k] - 2.0 * here + from[i][j - 1][k])
                              + 0.125 * (from[i][j][k + 1] - 2.0 * here + from[i][j][k - 1]);
            }
}

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < N; k++)
                A[i][j][k] = B[i][j][k] = next_fraction();
    for (int t = 0; t < STEPS; t++) {
        step(B, A);
        step(A, B);
    }
    report(A, sizeof(A));
}
