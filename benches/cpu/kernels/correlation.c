/* Correlation of columns. */
#include "kernel.h"
#include <math.h>
#define ROWS 1200
#define COLUMNS 900
static double data[ROWS][COLUMNS], mean[COLUMNS], deviation[COLUMNS], result[COLUMNS][COLUMNS];

int
main(void)
{
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            data[i][j] = next_fraction();
            mean[j] += data[i][j] / ROWS;
        }
    for (int j = 0; j < COLUMNS; j++) {
        double sum = 0;
        for (int i = 0; i < ROWS; i++)
            sum += (data[i][j] - mean[j]) * (data[i][j] - mean[j]);
        deviation[j] = sqrt(sum / ROWS);
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            data[i][j] = (data[i][j] - mean[j]) / (sqrt((double)ROWS) * deviation[j]);
    for (int i = 0; i < COLUMNS; i++) {
        for (int k = 0; k < ROWS; k++)
            for (int j = i; j < COLUMNS; j++)
                result[i][j] += data[k][i] * data[k][j];
        for (int j = i; j < COLUMNS; j++)
            result[j][i] = result[i][j];
    }
    report(result, sizeof(result));
}
