/* elf_fuzz.c: libFuzzer target of the ELF check: whatever the bytes are, it ends, stays inside of them,
 * and what it says of them is so. */
#include "elf_check.h"
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static void use(const char *text)
{
    if (text && strlen(text) == (size_t)-1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_facts facts;
    struct error error = {0};
    if (!elf_check(data, size, "fuzzed", &facts, &error)) {
        if (!error.text[0])
            abort();
        return 0;
    }
    use(facts.soname);
    for (const char **needed = facts.needed; *needed; needed++)
        use(*needed);
    for (size_t i = 0; i < facts.symbol_count; i++) {
        const struct symbol *found = elf_find_symbol(&facts, facts.symbols[i].name);
        if (found != &facts.symbols[i])
            abort();
    }
    elf_facts_free(&facts);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (seed % 8 != 0 && mutate_elf(data, size, false, seed))
        return size;
    return LLVMFuzzerMutate(data, size, max_size);
}
