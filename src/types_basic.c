/* types_basic.c: the basic types of C by their spelling, with the sizes of this machine's C. */
#include "types_internal.h"

#include <limits.h>
#include <string.h>

struct basic {
    unsigned words;          /* sum of the words' codes below */
    const char *name;
    enum type_kind kind;
    bool is_signed, is_char;
    uint16_t size, align;
};

/* Words of a basic type's spelling; those that may come twice have room for it. */
enum {
    WORD_SIGNED = 1, WORD_UNSIGNED = 4, WORD_SHORT = 16, WORD_LONG = 64, WORD_INT = 256,
    WORD_CHAR = 1024, WORD_FLOAT = 4096, WORD_DOUBLE = 1 << 14, WORD_BOOL = 1 << 16,
    WORD_COMPLEX = 1 << 18, WORD_INT128 = 1 << 20, WORD_VOID = 1 << 22
};

#define BASIC(words, name, kind, sign, is_char, c_type) \
    {words, name, kind, sign, is_char, sizeof(c_type), _Alignof(c_type)}

/* Integers are found under their spelling without `int`, and without `signed` but for char. */
static const struct basic basics[] = {
    {WORD_VOID, "void", TYPE_VOID, false, false, 0, 1},
    BASIC(WORD_BOOL, "_Bool", TYPE_BOOL, false, false, _Bool),
    BASIC(WORD_CHAR, "char", TYPE_INT, CHAR_MIN < 0, true, char),
    BASIC(WORD_SIGNED + WORD_CHAR, "signed char", TYPE_INT, true, true, signed char),
    BASIC(WORD_UNSIGNED + WORD_CHAR, "unsigned char", TYPE_INT, false, true, unsigned char),
    BASIC(WORD_SHORT, "short", TYPE_INT, true, false, short),
    BASIC(WORD_UNSIGNED + WORD_SHORT, "unsigned short", TYPE_INT, false, false, unsigned short),
    BASIC(WORD_INT, "int", TYPE_INT, true, false, int),
    BASIC(WORD_UNSIGNED, "unsigned int", TYPE_INT, false, false, unsigned),
    BASIC(WORD_LONG, "long", TYPE_INT, true, false, long),
    BASIC(WORD_UNSIGNED + WORD_LONG, "unsigned long", TYPE_INT, false, false, unsigned long),
    BASIC(2 * WORD_LONG, "long long", TYPE_INT, true, false, long long),
    BASIC(WORD_UNSIGNED + 2 * WORD_LONG, "unsigned long long", TYPE_INT, false, false,
          unsigned long long),
    BASIC(WORD_INT128, "__int128", TYPE_INT, true, false, __int128),
    BASIC(WORD_UNSIGNED + WORD_INT128, "unsigned __int128", TYPE_INT, false, false,
          unsigned __int128),
    BASIC(WORD_FLOAT, "float", TYPE_FLOAT, true, false, float),
    BASIC(WORD_DOUBLE, "double", TYPE_FLOAT, true, false, double),
    BASIC(WORD_LONG + WORD_DOUBLE, "long double", TYPE_FLOAT, true, false, long double),
    BASIC(WORD_FLOAT + WORD_COMPLEX, "float _Complex", TYPE_COMPLEX, true, false, float _Complex),
    BASIC(WORD_DOUBLE + WORD_COMPLEX, "double _Complex", TYPE_COMPLEX, true, false,
          double _Complex),
    BASIC(WORD_LONG + WORD_DOUBLE + WORD_COMPLEX, "long double _Complex", TYPE_COMPLEX, true, false,
          long double _Complex),
};

_Static_assert(sizeof basics / sizeof *basics == TYPES_BASIC_COUNT, "types_internal.h counts them");

static unsigned code_of_word(const char *word, size_t length)
{
    static const struct { const char *word; unsigned code; } words[] = {
        {"signed", WORD_SIGNED}, {"unsigned", WORD_UNSIGNED}, {"short", WORD_SHORT},
        {"long", WORD_LONG}, {"int", WORD_INT}, {"char", WORD_CHAR}, {"float", WORD_FLOAT},
        {"double", WORD_DOUBLE}, {"_Bool", WORD_BOOL}, {"bool", WORD_BOOL},
        {"_Complex", WORD_COMPLEX}, {"complex", WORD_COMPLEX}, {"__int128", WORD_INT128},
        {"void", WORD_VOID},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0)
            return words[i].code;
    return 0;
}

/* The sum of the codes of the words in `spelling`, 0 if one is unknown or comes too often. */
static unsigned code_of_spelling(const char *spelling)
{
    unsigned sum = 0;
    for (const char *word = spelling + strspn(spelling, " "); *word; ) {
        size_t length = strcspn(word, " ");
        unsigned code = code_of_word(word, length), times = code ? sum / code & 3 : 0;
        if (code == 0 || times > (code == WORD_LONG))
            return 0;
        sum += code;
        word += length;
        word += strspn(word, " ");
    }
    if (sum & WORD_SIGNED && sum & WORD_UNSIGNED)
        return 0;
    bool is_integer = sum < WORD_CHAR;        /* made of the words up to `int` */
    if (is_integer && sum & WORD_SIGNED)
        sum = sum == WORD_SIGNED ? WORD_INT : sum - WORD_SIGNED;
    if (is_integer && sum & WORD_INT && sum != WORD_INT)
        sum -= WORD_INT;
    return sum;
}

const struct type *types_basic(struct types *table, const char *spelling)
{
    unsigned words = code_of_spelling(spelling);
    size_t i = 0;
    while (i < TYPES_BASIC_COUNT && (words == 0 || basics[i].words != words))
        i++;
    if (i == TYPES_BASIC_COUNT)
        return NULL;
    types_lock(table);
    if (!table->basics[i]) {
        struct type *type = types_add(table, basics[i].kind);
        type->name = basics[i].name;
        type->is_signed = basics[i].is_signed;
        type->is_char = basics[i].is_char;
        type->size = basics[i].size;
        type->align = basics[i].align;
        table->basics[i] = type;
    }
    types_unlock(table);
    return table->basics[i];
}
