/* dwarf_fuzz.c: libFuzzer target of the reader of debug information: of any file that the ELF check lets
 * through, everything that the program ever asks for is read. */
#include "cdecl.h"
#include "debuginfo.h"
#include "elf_check.h"
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { MAX_DEPTH = 6, MAX_MEMBERS = 100 };

/* Look at all that a caller of the type model may look at. */
static void visit(const struct type *type, int depth)
{
    if (!type || depth > MAX_DEPTH)
        return;
    type = type_complete(type);
    visit(type->target, depth + 1);
    uint64_t count = type->count < MAX_MEMBERS ? type->count : MAX_MEMBERS;
    bool is_record = type->kind == TYPE_STRUCT || type->kind == TYPE_UNION;
    for (uint64_t i = 0; is_record && i < count; i++)
        visit(type->fields[i].type, depth + 1);
    for (uint64_t i = 0; type->kind == TYPE_FUNCTION && i < count; i++)
        visit(type->parameters[i].type, depth + 1);
    for (uint64_t i = 0; type->kind == TYPE_ENUM && i < count; i++)
        type_find_enumerator(type, type->values[i].name);
    if (depth == 0) {
        char text[512];
        cdecl_print(text, sizeof text, type, "x");
        free(cdecl_print_definition(type, true));
        if (!types_same(type, type))
            abort();
    }
}

static bool visit_named(void *context, const struct type *type)
{
    unsigned *left = context;
    visit(type, 0);
    return --*left > 0;
}

static void read_all(struct debuginfo *debug, const struct elf_facts *facts)
{
    struct error error = {0};
    struct debug_line line;
    unsigned left = 200;
    size_t count;
    int64_t value;
    for (size_t i = 0; i < facts->symbol_count; i++) {
        const struct symbol *symbol = &facts->symbols[i];
        visit(debuginfo_function(debug, symbol->name, symbol->address, &error), 0);
        debuginfo_variable(debug, symbol->name, symbol->address, &error);
        debuginfo_line(debug, symbol->address, &line);
    }
    const struct debug_variable *variables = debuginfo_variables(debug, &count);
    for (size_t i = 0; i < count; i++)
        visit(variables[i].type, 0);
    debuginfo_each_type(debug, visit_named, &left);
    debuginfo_type(debug, "struct point");
    debuginfo_enumerator(debug, "RED", &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_facts facts;
    struct error error = {0};
    char path[64];
    if (!elf_check(data, size, "fuzzed", &facts, &error))
        return 0;
    int descriptor = memfd_create("fuzzed", MFD_CLOEXEC);
    if (descriptor >= 0 && write(descriptor, data, size) == (ssize_t)size) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
        struct debuginfo *debug = debuginfo_open(path, NULL, NULL, &error);
        if (debug) {
            read_all(debug, &facts);
            debuginfo_close(debug);
        }
    }
    close(descriptor);
    elf_facts_free(&facts);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    (void)max_size;
    mutate_elf(data, size, seed % 16 != 0, seed);
    return size;
}
