/* D = a A B C + b D, by dot products over columns: the memory's latency counts. */
#include "kernel.h"
#define N 500
static double A[N][N], B[N][N], C[N][N], D[N][N], T[N][N];

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i][j] = next_fraction();
            B[i][j] = next_fraction();
            C[i][j] = next_fraction();
            D[i][j] = next_fraction();
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++)
                sum += 1.5 * A[i][k] * B[k][j];
            T[i][j] = sum;
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = D[i][j] * 1.2;
            for (int k = 0; k < N; k++)
                sum += T[i][k] * C[k][j];
            D[i][j] = sum;
        }
    report(D, sizeof(D));
}
