/* A = L U, in place. */
#include "kernel.h"
#define N 1000
static double A[N][N];

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            A[i][j] = next_fraction() + (i == j ? N : 0);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < i; j++) {
            double sum = A[i][j];
            for (int k = 0; k < j; k++)
                sum -= A[i][k] * A[k][j];
            A[i][j] = sum / A[j][j];
        }
        for (int j = i; j < N; j++) {
            double sum = A[i][j];
            for (int k = 0; k < i; k++)
                sum -= A[i][k] * A[k][j];
            A[i][j] = sum;
        }
    }
    report(A, sizeof(A));
}
