/* cdecl_token.c: C text as tokens, and the reporting of mistakes in it with line and column. */
#include "cdecl_internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SHOWN = 40 };

/* Print as much of a token as an error needs; "the end of the text" for none. */
static void describe_token(const struct token *token, char *text, size_t size)
{
    int shown = token->length > MAX_SHOWN ? MAX_SHOWN : (int)token->length;
    if (token->kind == TOKEN_END)
        snprintf(text, size, "the end");
    else
        snprintf(text, size, "'%.*s%s'", shown, token->start,
                 token->length > MAX_SHOWN ? "..." : "");
}

static void fail(struct parser *parser, const struct token *token, const char *format,
                 va_list arguments)
{
    char message[ERROR_TEXT / 2];
    if (parser->has_failed)
        return;
    parser->has_failed = true;
    vsnprintf(message, sizeof message, format, arguments);
    size_t length = strcspn(parser->text, "\n");
    int shown = length > MAX_SHOWN ? MAX_SHOWN : (int)length;
    if (parser->is_expression)
        error_set(parser->error, "%s (line %d, column %d of \"%.*s%s\")", message, token->line,
                  token->column, shown, parser->text, parser->text[shown] ? "..." : "");
    else
        error_set(parser->error, "line %d, column %d: %s", token->line, token->column, message);
    parser->here.token.kind = TOKEN_END;
    parser->here.token.length = 0;
    parser->here.next = "";
}

void token_fail_at(struct parser *parser, const struct token *token, const char *format, ...)
{
    struct token copy = *token;
    va_list arguments;
    va_start(arguments, format);
    fail(parser, &copy, format, arguments);
    va_end(arguments);
}

void token_fail(struct parser *parser, const char *format, ...)
{
    struct token copy = parser->here.token;
    va_list arguments;
    va_start(arguments, format);
    fail(parser, &copy, format, arguments);
    va_end(arguments);
}

void token_fail_expected(struct parser *parser, const char *what)
{
    char found[MAX_SHOWN + 16];
    describe_token(&parser->here.token, found, sizeof found);
    token_fail(parser, "expected %s before %s", what, found);
}

/* ---- Reading ---- */

static void skip_line(struct mark *here)
{
    here->line++;
    here->line_start = here->next + 1;
}

/* Skip a comment; false if it does not end. */
static bool skip_comment(struct mark *here)
{
    bool is_line = here->next[1] == '/';
    for (here->next += 2; *here->next; here->next++) {
        if (is_line && *here->next == '\n')
            return true;
        if (!is_line && here->next[0] == '*' && here->next[1] == '/') {
            here->next += 2;
            return true;
        }
        if (*here->next == '\n')
            skip_line(here);
    }
    return is_line;
}

static void place_token(struct mark *here)
{
    here->token.kind = TOKEN_END;
    here->token.start = here->next;
    here->token.length = 0;
    here->token.line = here->line;
    here->token.column = (int)(here->next - here->line_start) + 1;
}

static void skip_space(struct parser *parser)
{
    struct mark *here = &parser->here;
    for (;; ) {
        if (*here->next == '\n')
            skip_line(here);
        if (isspace((unsigned char)*here->next)) {
            here->next++;
        } else if (here->next[0] == '\\' && here->next[1] == '\n') {
            here->next++;
        } else if (here->next[0] == '/' && (here->next[1] == '*' || here->next[1] == '/')) {
            place_token(here);
            if (!skip_comment(here))
                token_fail(parser, "this comment does not end");
        } else {
            return;
        }
    }
}

static bool is_name_part(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* The length of a quoted text, 0 if it does not end on its line. */
static size_t length_of_quoted(const char *start)
{
    for (const char *c = start + 1; *c && *c != '\n'; c++) {
        if (*c == *start)
            return (size_t)(c - start) + 1;
        if (*c == '\\' && c[1])
            c++;
    }
    return 0;
}

static size_t length_of_sign(const char *start)
{
    static const char *const long_signs[] = {"...", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||"};
    for (size_t i = 0; i < sizeof long_signs / sizeof *long_signs; i++)
        if (strncmp(start, long_signs[i], strlen(long_signs[i])) == 0)
            return strlen(long_signs[i]);
    return 1;
}

static size_t length_of_word(const char *start)
{
    size_t length = 0;
    while (is_name_part(start[length]) || (start[length] == '.' && isdigit((unsigned char)*start)))
        length++;
    return length;
}

static void measure_token(struct parser *parser, struct token *token)
{
    const char *start = token->start;
    if (*start == '"' || *start == '\'') {
        token->kind = *start == '"' ? TOKEN_STRING : TOKEN_CHARACTER;
        token->length = length_of_quoted(start);
        if (token->length == 0)
            token_fail(parser, "this quote does not end");
    } else if (is_name_part(*start)) {
        token->kind = isdigit((unsigned char)*start) ? TOKEN_NUMBER : TOKEN_NAME;
        token->length = length_of_word(start);
    } else if (*start == '#') {
        token_fail(parser, "preprocessor lines are not understood here: give declarations alone");
    } else {
        token->kind = TOKEN_SIGN;
        token->length = length_of_sign(start);
    }
}

void token_next(struct parser *parser)
{
    if (parser->has_failed)
        return;
    skip_space(parser);
    if (parser->has_failed)
        return;
    place_token(&parser->here);
    if (*parser->here.next)
        measure_token(parser, &parser->here.token);
    parser->here.next += parser->here.token.length;
}

void token_start(struct parser *parser, const char *text)
{
    parser->text = text;
    parser->here.next = parser->here.line_start = text;
    parser->here.line = 1;
    token_next(parser);
}

bool token_is(const struct parser *parser, const char *spelling)
{
    const struct token *token = &parser->here.token;
    return token->kind != TOKEN_END && strncmp(token->start, spelling, token->length) == 0 &&
           spelling[token->length] == 0;
}

bool token_accept(struct parser *parser, const char *spelling)
{
    if (!token_is(parser, spelling))
        return false;
    token_next(parser);
    return true;
}

void token_expect(struct parser *parser, const char *spelling)
{
    char what[16];
    if (token_accept(parser, spelling))
        return;
    snprintf(what, sizeof what, "'%s'", spelling);
    token_fail_expected(parser, what);
}

const char *token_take_name(struct parser *parser, const char *what)
{
    char text[256];
    const struct token *token = &parser->here.token;
    if (token->kind != TOKEN_NAME) {
        token_fail_expected(parser, what);
        return "";
    }
    if (token->length >= sizeof text) {
        token_fail(parser, "a name of more than %zu bytes", sizeof text - 1);
        return "";
    }
    memcpy(text, token->start, token->length);
    text[token->length] = 0;
    token_next(parser);
    return types_string(parser->table, text);
}

void token_skip_brackets(struct parser *parser)
{
    struct token opening = parser->here.token;
    int depth = 0;
    do {
        if (parser->here.token.kind == TOKEN_END) {
            token_fail_at(parser, &opening, "this '%c' is not closed", *opening.start);
            return;
        }
        if (token_is(parser, "(") || token_is(parser, "[") || token_is(parser, "{"))
            depth++;
        if (token_is(parser, ")") || token_is(parser, "]") || token_is(parser, "}"))
            depth--;
        token_next(parser);
    } while (depth > 0);
}

bool token_enter(struct parser *parser)
{
    if (++parser->depth > CDECL_MAX_DEPTH)
        token_fail(parser, "nested more than %d deep", CDECL_MAX_DEPTH);
    return !parser->has_failed;
}

void token_leave(struct parser *parser)
{
    parser->depth--;
}
