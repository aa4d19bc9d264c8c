/* Shortest paths between all pairs. */
#include "kernel.h"
#define N 700
static int32_t path[N][N];

int
main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            path[i][j] = next_number() % 8 ? 100000 : (int32_t)(next_number() % 1000 + 1);
    for (int k = 0; k < N; k++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                int32_t by_k = path[i][k] + path[k][j];
                path[i][j] = path[i][j] < by_k ? path[i][j] : by_k;
            }
    report(path, sizeof(path));
}
