// exit CODE: ends through proc_exit. exit return CODE: returns CODE from main.
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "return") == 0)
        return atoi(argv[2]);
    exit(argc == 2 ? atoi(argv[1]) : 99);
}
