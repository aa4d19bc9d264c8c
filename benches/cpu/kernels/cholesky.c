/* A = L transposed(L), A symmetric and positive definite. */
#include "kernel.h"
#include <math.h>
#define N 1000
static double A[N][N];

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++)
            A[i][j] = A[j][i] = next_fraction() + (i == j ? N : 0);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < i; j++) {
            double sum = A[i][j];
            for (int k = 0; k < j; k++)
                sum -= A[i][k] * A[j][k];
            A[i][j] = sum / A[j][j];
        }
        double sum = A[i][i];
        for (int k = 0; k < i; k++)
            sum -= A[i][k] * A[i][k];
        A[i][i] = sqrt(sum);
    }
    report(A, sizeof(A));
}
