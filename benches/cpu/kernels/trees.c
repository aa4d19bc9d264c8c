/* Binary trees are made, counted and freed. */
#include "kernel.h"
#define DEPTH 16
#define TREES 80

typedef struct tree {
    struct tree *left, *right;
} tree;

static tree *
grow(int depth)
{
    tree *made = malloc(sizeof(*made));

    *made = depth ? (tree){ grow(depth - 1), grow(depth - 1) } : (tree){ 0 };
    return made;
}

static uint32_t
fell(tree *felled)
{
    uint32_t count = 1;

    if (felled->left)
        count += fell(felled->left) + fell(felled->right);
    free(felled);
    return count;
}

int
main(void)
{
    uint32_t count = 0;
    tree *kept = grow(DEPTH);

    for (int i = 0; i < TREES; i++)
        count = count * 3 + fell(grow(DEPTH - i % 4));
    count += fell(kept);
    report(&count, sizeof(count));
}
