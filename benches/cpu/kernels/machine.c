/* A machine with a stack, in the way of language interpreters: a large switch, and operations by function pointer. */
#include "kernel.h"
#define STEPS 120000000

enum { PUSH, ADD, SUB, MUL, DUP, SWAP, DROP, JUMP_IF, CALL, LOAD, STORE };

static int32_t memory[64];

static int32_t
mix(int32_t value)
{
    return (int32_t)((uint32_t)value * 2654435761u) >> 7;
}

static int32_t
flip(int32_t value)
{
    return ~value;
}

static int32_t (*volatile const builtin[])(int32_t) = { mix, flip };

static int32_t
run(const int32_t *code, int32_t steps)
{
    int32_t stack[64], *top = stack;
    int at = 0;

    *top = 0;
    while (steps-- > 0) {
        int32_t operand = code[at + 1];
        switch (code[at]) {
            case PUSH: *++top = operand; break;
            case ADD: top--; *top = (int32_t)((uint32_t)*top + (uint32_t)top[1]); break;
            case SUB: top--; *top = (int32_t)((uint32_t)*top - (uint32_t)top[1]); break;
            case MUL: top--; *top = (int32_t)((uint32_t)*top * (uint32_t)top[1]); break;
            case DUP: top++; *top = top[-1]; break;
            case SWAP: { int32_t held = *top; *top = top[-1]; top[-1] = held; break; }
            case DROP: top--; break;
            case JUMP_IF: if (*top--) { at = operand; continue; } break;
            case CALL: *top = builtin[operand & 1](*top); break;
            case LOAD: *++top = memory[operand & 63]; break;
            case STORE: memory[operand & 63] = *top--; break;
        }
        at += 2;
    }
    return *top;
}

int
main(void)
{
    /* for (;;) { total = mix(total * 31 + n); n = flip(n - 1) if odd ... } */
    static const int32_t code[] = {
        LOAD, 0, PUSH, 31, MUL, 0, LOAD, 1, ADD, 0, CALL, 0, STORE, 0,
        LOAD, 1, PUSH, 1, SUB, 0, DUP, 0, STORE, 1,
        LOAD, 0, SWAP, 0, DROP, 0, CALL, 1, STORE, 2,
        LOAD, 1, JUMP_IF, 0,
        PUSH, 100000, STORE, 1, PUSH, 1, JUMP_IF, 0,
    };
    int32_t result;

    memory[1] = 100000;
    result = run(code, STEPS);
    memory[3] = result;
    report(memory, sizeof(memory));
}
