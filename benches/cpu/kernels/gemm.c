/* C = a A B + b C */
#include "kernel.h"
#define N 1000
static double A[N][N], B[N][N], C[N][N];

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i][j] = next_fraction();
            B[i][j] = next_fraction();
            C[i][j] = next_fraction();
        }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            C[i][j] *= 1.2;
        for (int k = 0; k < N; k++)
            for (int j = 0; j < N; j++)
                C[i][j] += 1.5 * A[i][k] * B[k][j];
    }
    report(C, sizeof(C));
}
