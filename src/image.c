/* image.c: the life of one image: verified, opened, read, closed. Never calls Lua. */
#include "image.h"

#include "call_compile.h"
#include "cdecl.h"
#include "debuginfo.h"
#include "fork_lock.h"
#include "guard.h"
#include "heap.h"
#include "image_end.h"
#include "image_link.h"
#include "loader.h"
#include "memory.h"
#include "native_symbol.h"
#include "pristine.h"
#include "slot.h"
#include "stage.h"
#include "users.h"
#include "users_noted.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The mapped images, by address. */
FORK_LOCK(mapped_lock)
static pthread_cond_t no_reader = PTHREAD_COND_INITIALIZER;
static struct image **mapped;
static size_t mapped_count, mapped_capacity;
static uintptr_t mapped_low = UINTPTR_MAX, mapped_high;  /* around all that ever were */

unsigned image_mapped_stamp;

/* How many are mapped below the address, or begin with it. */
static size_t count_below(uintptr_t address)
{
    size_t low = 0, high = mapped_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mapped[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void list_add(struct image *image)
{
    pthread_mutex_lock(&mapped_lock);
    if (mapped_count == mapped_capacity) {
        mapped_capacity = mapped_capacity ? 2 * mapped_capacity : 64;
        mapped = memory_resize(mapped, mapped_capacity * sizeof *mapped);
    }
    size_t place = count_below(image->base);
    memmove(mapped + place + 1, mapped + place, (mapped_count++ - place) * sizeof *mapped);
    mapped[place] = image;
    __atomic_store_n(&image_mapped_stamp, image_mapped_stamp + 1, __ATOMIC_RELEASE);
    if (image->base < mapped_low)
        __atomic_store_n(&mapped_low, image->base, __ATOMIC_RELEASE);
    if (image->base + image->size > mapped_high)
        __atomic_store_n(&mapped_high, image->base + image->size, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&mapped_lock);
}

/* The image counts as unmapped from here on. */
static void list_remove(struct image *image)
{
    pthread_mutex_lock(&mapped_lock);
    while (image->readers > 0)
        pthread_cond_wait(&no_reader, &mapped_lock);
    image->is_mapped = false;
    __atomic_store_n(&image_mapped_stamp, image_mapped_stamp + 1, __ATOMIC_RELEASE);
    size_t place = count_below(image->base);
    if (place > 0 && mapped[place - 1] == image)
        memmove(mapped + place - 1, mapped + place, (mapped_count-- - place) * sizeof *mapped);
    pthread_mutex_unlock(&mapped_lock);
}

bool image_begin_reading(struct image *image)
{
    pthread_mutex_lock(&mapped_lock);
    bool is_mapped = image->is_mapped;
    image->readers += is_mapped;
    pthread_mutex_unlock(&mapped_lock);
    return is_mapped;
}

void image_end_reading(struct image *image)
{
    pthread_mutex_lock(&mapped_lock);
    if (--image->readers == 0)
        pthread_cond_broadcast(&no_reader);
    pthread_mutex_unlock(&mapped_lock);
}

void image_set_state(struct image *image, enum image_state state, const char *why)
{
    pthread_mutex_lock(&mapped_lock);
    snprintf(image->why, sizeof image->why, "%s", why ? why : "");
    __atomic_store_n(&image->state, state, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&mapped_lock);
}

enum image_state image_state_of(const struct image *image)
{
    return __atomic_load_n(&image->state, __ATOMIC_ACQUIRE);
}

void image_copy_why(const struct image *image, char *why, size_t size)
{
    pthread_mutex_lock(&mapped_lock);
    snprintf(why, size, "%s", image->why);
    pthread_mutex_unlock(&mapped_lock);
}

/* False: the last reference is gone, someone is about to free it. */
static bool retain_if_alive(struct image *image)
{
    unsigned count = __atomic_load_n(&image->references, __ATOMIC_RELAXED);
    while (count > 0)
        if (__atomic_compare_exchange_n(&image->references, &count, count + 1, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

struct image *image_of_address(const void *address)
{
    struct image *found = NULL;
    if ((uintptr_t)address < __atomic_load_n(&mapped_low, __ATOMIC_ACQUIRE) ||
        (uintptr_t)address >= __atomic_load_n(&mapped_high, __ATOMIC_ACQUIRE))
        return NULL;
    pthread_mutex_lock(&mapped_lock);
    size_t place = count_below((uintptr_t)address);
    if (place > 0 && image_contains(mapped[place - 1], address) && retain_if_alive(mapped[place - 1]))
        found = mapped[place - 1];
    pthread_mutex_unlock(&mapped_lock);
    return found;
}

struct image **image_list_mapped(void)
{
    size_t used = 0;
    pthread_mutex_lock(&mapped_lock);
    struct image **list = calloc(mapped_count + 1, sizeof *list);
    for (size_t i = 0; list && i < mapped_count; i++)
        if (retain_if_alive(mapped[i]))
            list[used++] = mapped[i];
    pthread_mutex_unlock(&mapped_lock);
    return list;
}

/* Stand-ins for the images that were unmapped last, for pointers that C or an object still has:
 * they tell where it was and what it was called, and nothing else. */
enum { REMEMBERED = 64 };
static struct image *gone[REMEMBERED];
static unsigned gone_count;              /* how many there ever were */

/* Without memory for that it is forgotten. */
static void remember(const struct image *image)
{
    struct image *stand_in = calloc(1, sizeof *stand_in);
    char *name = strdup(image_owner(image) ? image_owner(image)->name : image->source);
    if (!stand_in || !name) {
        free(stand_in);
        free(name);
        return;
    }
    *stand_in = (struct image){
        .source = name, .generation = image->generation, .state = IMAGE_GONE, .base = image->base,
        .size = image->size, .references = 1,
    };
    pthread_mutex_lock(&mapped_lock);
    struct image **place = &gone[gone_count++ % REMEMBERED], *forgotten = *place;
    *place = stand_in;
    pthread_mutex_unlock(&mapped_lock);
    image_release(forgotten);
}

/* Is there any memory at the address? */
static bool is_memory(const void *address)
{
    unsigned char state;
    uintptr_t page = (uintptr_t)address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    return mincore((void *)page, 1, &state) == 0;
}

struct image *image_gone_from(const void *address)
{
    struct image *found = NULL;
    if ((uintptr_t)address < __atomic_load_n(&mapped_low, __ATOMIC_ACQUIRE) ||
        (uintptr_t)address >= __atomic_load_n(&mapped_high, __ATOMIC_ACQUIRE))
        return NULL;
    pthread_mutex_lock(&mapped_lock);
    unsigned count = gone_count < REMEMBERED ? gone_count : REMEMBERED;
    for (unsigned i = 1; i <= count && !found; i++) {    /* the last first: others may have lain there before */
        struct image *last = gone[(gone_count - i) % REMEMBERED];
        if (image_contains(last, address))
            found = image_retain(last);
    }
    pthread_mutex_unlock(&mapped_lock);
    if (!found || !is_memory(address))
        return found;
    image_release(found);
    return NULL;
}

bool image_is_reloadable(const struct image *image, struct error *error)
{
    const struct elf_facts *facts = &image->facts;
    if (facts->has_unique)
        return error_set_stage(error, "verify",
            "%s: '%s' is a GNU unique symbol: the new image would share the old one's variable; "
            "compile with -fno-gnu-unique", image->source, facts->unique_name);
    if (facts->has_text_relocations)
        return error_set_stage(error, "verify", "%s: has text relocations; compile with -fPIC",
                               image->source);
    if (facts->has_executable_stack)
        return error_set_stage(error, "verify",
            "%s: asks for an executable stack; link with -Wl,-z,noexecstack, and give assembler "
            "sources a .note.GNU-stack section", image->source);
    if (facts->has_writable_code)
        return error_set_stage(error, "verify",
            "%s: has a segment that is both writable and executable; link with "
            "-Wl,-z,separate-code, not with -N", image->source);
    return true;
}

static bool is_function(const struct symbol *symbol)
{
    return symbol->kind == SYMBOL_FUNCTION || symbol->kind == SYMBOL_INDIRECT;
}

/* The exports with their addresses in the file; image_open adds the load bias. */
static void make_exports(struct image *image)
{
    size_t count = 0;
    for (size_t i = 0; i < image->facts.symbol_count; i++)
        count += is_function(&image->facts.symbols[i]);
    image->exports = memory_take_array(count + 1, sizeof *image->exports);
    for (size_t i = 0; i < image->facts.symbol_count; i++) {
        const struct symbol *symbol = &image->facts.symbols[i];
        if (!is_function(symbol))
            continue;
        struct export *export = &image->exports[image->export_count++];
        export->name = symbol->name;
        export->target = (void *)symbol->address;
        export->image = image;
        export->thunk = call_lazy;
    }
}

static void rebase_exports(struct image *image)
{
    free(image->variables);              /* listed before there was memory: by a policy's diff */
    image->variables = NULL;
    for (size_t i = 0; i < image->export_count; i++) {
        struct export *export = &image->exports[i];
        const struct symbol *symbol = elf_find_symbol(&image->facts, export->name);
        if (symbol->kind == SYMBOL_INDIRECT)
            export->target = dlsym(image->handle, export->name);
        else
            export->target = (char *)export->target + image->bias;
    }
}

/* elf_check, or elf_check_program. */
typedef bool check_function(const void *bytes, size_t size, const char *name, struct elf_facts *facts,
                            struct error *error);

static struct image *examine_as(check_function *check, struct stage *stage, const char *source,
                                struct error *error)
{
    struct image *image = memory_take(sizeof *image);
    image->references = 1;
    image->stage = stage;
    image->source = memory_copy_text(source);
    if (!check(stage_bytes(stage), stage_size(stage), source, &image->facts, error)) {
        error_set_stage(error, "verify", "%s", strdupa(error->text));
        image_release(image);
        return NULL;
    }
    make_exports(image);
    return image;
}

struct image *image_examine(struct stage *stage, const char *source, struct error *error)
{
    return examine_as(elf_check, stage, source, error);
}

struct image *image_verify(struct stage *stage, const char *source, struct error *error)
{
    struct image *image = image_examine(stage, source, error);
    if (!image || image_is_reloadable(image, error))
        return image;
    image_release(image);
    return NULL;
}

bool image_read_types(struct image *image, const struct image_options *options, struct error *error)
{
    if (image->types)
        return true;
    struct error missing = {0};
    char directory[4096];
    struct debug_bytes bytes = {stage_bytes(image->stage), stage_size(image->stage), stage_let_go, image->stage};
    snprintf(directory, sizeof directory, "%s", image->source);
    char *slash = strrchr(directory, '/');
    strcpy(slash ? slash : directory, slash ? "" : ".");
    stage_hold(image->stage);
    image->debug = debuginfo_open(stage_path(image->stage), &bytes, directory, &missing);
    if (!image->debug && missing.stage[0])  /* not for what is in the file: it could not be read at all */
        return error_set_stage(error, "open", "%s: its debug information: %s", image->source, missing.text);
    if (image->debug) {
        image->types = types_retain(debuginfo_types(image->debug));
    } else {
        snprintf(image->no_debug, sizeof image->no_debug, "%.255s", missing.text);
        image->types = types_new(NULL, NULL, NULL);
    }
    if (!options->cdef)
        return true;
    image->declarations = cdecl_parse(image->types, options->cdef, &image_names, image, error);
    if (image->declarations)
        return true;
    return error_set_stage(error, "bind", "%s: cdef: %s", image->source, strdupa(error->text));
}

/* The loader names the private copy; the user knows the source. */
static void set_loader_error(struct image *image, const char *said, struct error *error)
{
    const char *private_path = stage_path(image->stage);
    size_t length = strlen(private_path);
    if (strncmp(said, private_path, length) == 0) {
        said += length;
        if (strncmp(said, ": ", 2) == 0)
            said += 2;
    }
    const char *missing = strstr(said, ": cannot open shared object file");
    if (missing)
        error_set_stage(error, "open",
            "%s: needs the library %.*s, which cannot be found: install it, link the plugin with "
            "-Wl,-rpath,DIRECTORY, or, if it is a plugin too, load that first",
            image->source, (int)(missing - said), said);
    else if (strstr(said, "static TLS"))
        error_set_stage(error, "open",
            "%s: %s: its thread-local variables use the loader's small static block; compile "
            "with -ftls-model=global-dynamic", image->source, said);
    else
        error_set_stage(error, "open", "%s: %s", image->source, said);
}

static __thread struct image *being_opened;

struct image *image_being_opened(void)
{
    return being_opened;
}

bool image_open(struct image *image, const struct image_options *options, struct error *error)
{
    const char *path = stage_path(image->stage);
    struct link_map *map = NULL;
    const char *said = NULL;
    image->noted_before = noted_count();
    loader_lock();
    being_opened = image;
    image->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    being_opened = NULL;
    if (!image->handle)
        said = strdupa(dlerror());
    loader_unlock();
    if (said) {
        set_loader_error(image, said, error);
        return false;
    }
    dlinfo(image->handle, RTLD_DI_LINKMAP, &map);
    image->bias = map->l_addr;
    image->base = image->bias + image->facts.lowest_address;
    image->size = image->facts.loaded_size;
    image->is_mapped = true;
    list_add(image);
    if (strcmp(map->l_name, path) != 0)   /* the loader gave an image that it already had */
        return error_set_stage(error, "open", "%s: the loader returned %s instead of the new image",
                               image->source, map->l_name);
    if (!pristine_take(image, &image->pristine))
        return error_set_stage(error, "open", "%s: out of memory", image->source);
    if (options->reading)
        loader_finish(options->reading);
    rebase_exports(image);
    return image_read_types(image, options, error);
}

/* The program is the first object that the loader lists. */
static int take_first_bias(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    *(uintptr_t *)context = info->dlpi_addr;
    return 1;
}

struct image *image_of_program(struct stage *stage, const char *source, struct error *error)
{
    struct image_options options = {0};
    struct image *image = examine_as(elf_check_program, stage, source, error);
    if (!image)
        return NULL;
    loader_lock();
    image->handle = dlopen(NULL, RTLD_NOW);
    dl_iterate_phdr(take_first_bias, &image->bias);
    loader_unlock();
    image->base = image->bias + image->facts.lowest_address;
    image->size = image->facts.loaded_size;
    image->is_mapped = true;
    image->state = IMAGE_LIVE;
    rebase_exports(image);
    if (image_read_types(image, &options, error))
        return image;
    image_release(image);
    return NULL;
}

static int find_mapping(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    return info->dlpi_name && strcmp(info->dlpi_name, context) == 0;
}

static const char *reason_to_stay(const struct image *image)
{
    if (image->facts.has_unique)
        return "it has GNU unique symbols, which the loader never unloads";
    if (image->facts.is_nodelete)
        return "it was linked with -z nodelete";
    return "the loader keeps it: another library uses it, or a thread has still to run one of its "
           "thread-local destructors";
}

void image_close(struct image *image)
{
    if (!image->is_mapped)
        return;
    char why[sizeof image->why];
    if (getenv("HOTLUA_SCAN"))
        users_scan(image);
    if (users_find(image, why, sizeof why)) {
        image_set_state(image, IMAGE_HELD, why);
        return;
    }
    if (!image_end(image, why, sizeof why)) {
        list_remove(image);
        image_set_state(image, IMAGE_HELD, why);
        return;
    }
    list_remove(image);
    guard_trap_forget(image);
    loader_lock();
    dlclose(image->handle);
    bool stays = dl_iterate_phdr(find_mapping, (void *)stage_path(image->stage));
    if (!stays)
        heap_forget(image);
    loader_unlock();
    if (stays) {
        image_set_state(image, IMAGE_HELD, reason_to_stay(image));
        return;
    }
    remember(image);
    heap_leave(image);
    image->handle = NULL;
    image_unlink(image);
    image_set_state(image, IMAGE_GONE, NULL);
}

struct image *image_retain(struct image *image)
{
    __atomic_add_fetch(&image->references, 1, __ATOMIC_RELAXED);
    return image;
}

/* One that nobody took is closed by the last of its holders, of which there may be several. What is
 * mapped for good stays known by its address. */
void image_release(struct image *image)
{
    if (!image || __atomic_sub_fetch(&image->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (image->state == IMAGE_PREPARED)
        image_close(image);
    free(image->slots);
    image->slots = NULL;
    if (image->is_mapped)
        return;
    native_symbol_forget(image);
    image_unlink(image);
    for (size_t i = 0; i < image->export_count; i++)
        call_free_signature(&image->exports[i]);
    free(image->exports);
    free(image->ending);
    cdecl_free(image->declarations);
    if (image->debug)
        debuginfo_close(image->debug);
    if (image->types)
        types_release(image->types);
    pristine_free(image->pristine);
    free(image->variables);
    elf_facts_free(&image->facts);
    stage_free(image->stage);
    free(image->source);
    free(image);
}

struct export *image_find_export(const struct image *image, const char *name)
{
    size_t low = 0, high = image->export_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, image->exports[middle].name);
        if (order == 0)
            return &image->exports[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool image_resolve_export(struct export *export, struct error *error)
{
    struct image *image = export->image;
    if (export->type)
        return true;
    const struct type *type = NULL;
    if (image->declarations)
        type = cdecl_symbol(image->declarations, export->name);
    if (type && type->plain->kind != TYPE_FUNCTION)
        return error_set(error, "%s: cdef declares '%s' as a variable, but it is a function",
                         image->source, export->name);
    if (!type && image->debug) {
        const struct symbol *symbol = elf_find_symbol(&image->facts, export->name);
        uint64_t address = symbol->address;          /* the target may be about to change */
        if (symbol->kind == SYMBOL_INDIRECT)
            address = (uintptr_t)export->target - image->bias;
        type = debuginfo_function(image->debug, export->name, address, error);
    } else if (!type)
        error_set(error, "%s", image->no_debug);
    if (!type)
        return false;
    export->type = type->plain;
    return true;
}
