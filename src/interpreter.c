/* interpreter.c: the command line, as lua5.4 takes it (its manual, section 7), and what is more. */
#include "interpreter.h"

#include "interrupt.h"
#include "prompt.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

struct options {
    bool is_interactive, shows_version, runs_text, ignores_environment, is_watched;
    int script;              /* index in argv; argc if there is none */
    const char *bad;         /* the option that is none */
};

static const char *program = "hotlua";   /* before messages; NULL: at the prompt, where it goes without saying */

static const char *const commands[] = {"test", "inspect", "check", "stubs", "new", "help", NULL};

/* Errors ------------------------------------------------------------------------------------- */

void interpreter_report(lua_State *L)
{
    const char *message = lua_tostring(L, -1);
    fflush(stdout);
    if (program)
        fprintf(stderr, "%s: ", program);
    fprintf(stderr, "%s\n", message ? message : "(error object is not a string)");
    lua_pop(L, 1);
}

static int add_traceback(lua_State *L)
{
    const char *message = lua_tostring(L, 1);
    if (!message) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
            return 1;
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    luaL_traceback(L, L, message, 1);
    return 1;
}

int interpreter_call(lua_State *L, int arguments, int results)
{
    int base = lua_gettop(L) - arguments;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    int status = lua_pcall(L, arguments, results, base);
    lua_remove(L, base);
    if (status != LUA_OK && host_exit_status() == 0 && !host_was_interrupted(host_of(L)))
        interpreter_report(L);
    else if (status != LUA_OK)
        lua_pop(L, 1);                   /* a signal ended it: that is no error */
    return status;
}

static bool run_loaded(lua_State *L, int status)
{
    if (status != LUA_OK) {
        interpreter_report(L);
        return false;
    }
    return interpreter_call(L, 0, 0) == LUA_OK;
}

static bool run_text(lua_State *L, const char *text, const char *name)
{
    return run_loaded(L, luaL_loadbuffer(L, text, strlen(text), name));
}

/* Options ------------------------------------------------------------------------------------ */

/* Does the option take a value (in the same argument, or the next)? */
static bool takes_value(const char *option)
{
    return option[1] == 'e' || option[1] == 'l';
}

static bool read_option(const char *option, struct options *options)
{
    switch (option[1]) {
    case 'E': options->ignores_environment = true; return option[2] == 0;
    case 'W': return option[2] == 0;
    case 'i': options->is_interactive = options->shows_version = true; return option[2] == 0;
    case 'v': options->shows_version = true; return option[2] == 0;
    case 'e': options->runs_text = true; return true;
    case 'l': return true;
    default: return false;
    }
}

static struct options read_options(int argc, char **argv)
{
    struct options options = {.script = argc, .ignores_environment = getauxval(AT_SECURE) != 0};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (option[0] != '-' || option[1] == 0) {
            options.script = i;
            return options;
        }
        if (strcmp(option, "--") == 0) {
            options.script = i + 1;
            return options;
        }
        if (strcmp(option, "--watch") == 0) {
            options.is_watched = true;
            continue;
        }
        bool is_missing = takes_value(option) && option[2] == 0 && (++i >= argc || argv[i][0] == '-');
        if (!read_option(option, &options) || is_missing) {
            options.bad = option;
            return options;
        }
    }
    return options;
}

int interpreter_ignores_environment(int argc, char **argv)
{
    return read_options(argc, argv).ignores_environment;
}

static void print_version(void)
{
    printf("hotlua " HOTLUA_VERSION "  %s\n", LUA_COPYRIGHT);
    fflush(stdout);
}

static int refuse_option(const char *option)
{
    if (takes_value(option))
        fprintf(stderr, "%s: '%s' needs argument\n", program, option);
    else
        fprintf(stderr, "%s: unrecognized option '%s'\n", program, option);
    fprintf(stderr, "usage: %s [options] [script [args]]; %s --help says more\n", program, program);
    return 1;
}

/* Parts of a run ----------------------------------------------------------------------------- */

static void make_arg_table(lua_State *L, int argc, char **argv, int script)
{
    if (script >= argc)
        script = 0;
    lua_createtable(L, argc - script, script + 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

static bool run_environment(lua_State *L)
{
    const char *name = "=LUA_INIT_5_4", *text = getenv("LUA_INIT_5_4");
    if (!text) {
        name = "=LUA_INIT";
        text = getenv("LUA_INIT");
    }
    if (!text)
        return true;
    if (text[0] == '@')
        return run_loaded(L, luaL_loadfile(L, text + 1));
    return run_text(L, text, name);
}

/* -l name, -l global=name */
static bool run_require(lua_State *L, const char *argument)
{
    const char *equals = strchr(argument, '=');
    const char *module = equals ? equals + 1 : argument;
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    if (interpreter_call(L, 1, 1) != LUA_OK)
        return false;
    lua_pushlstring(L, argument, equals ? (size_t)(equals - argument) : strlen(argument));
    lua_insert(L, -2);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
    lua_pop(L, 1);
    return true;
}

static bool run_options(lua_State *L, char **argv, int script)
{
    for (int i = 1; i < script && argv[i]; i++) {
        char letter = argv[i][1];
        if (letter == 'W') {
            lua_warning(L, "@on", 0);
        } else if (letter == 'e' || letter == 'l') {
            const char *value = argv[i][2] ? argv[i] + 2 : argv[++i];
            if (!(letter == 'e' ? run_text(L, value, "=(command line)") : run_require(L, value)))
                return false;
        }
    }
    return true;
}

static bool run_script(lua_State *L, const char *path, bool is_file)
{
    int status = luaL_loadfile(L, strcmp(path, "-") == 0 && !is_file ? NULL : path);
    if (status != LUA_OK) {
        interpreter_report(L);
        return false;
    }
    lua_getglobal(L, "arg");
    int count = lua_istable(L, -1) ? (int)luaL_len(L, -1) : 0;
    luaL_checkstack(L, count + 3, "too many arguments to script");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, -i, i);
    lua_remove(L, -count - 1);
    return interpreter_call(L, count, 0) == LUA_OK;
}

/* hotlua.commands: run(name, {arguments}) -> exit status */
static int run_command(lua_State *L, const char *name, int argc, char **argv, int first)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hotlua.commands");
    if (interpreter_call(L, 1, 1) != LUA_OK)
        return 1;
    lua_getfield(L, -1, "run");
    lua_remove(L, -2);
    lua_pushstring(L, name);
    lua_createtable(L, argc, 0);
    for (int i = first; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - first + 1);
    }
    if (interpreter_call(L, 2, 1) != LUA_OK)
        return 1;
    int status = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return status;
}

static const char *find_command(int argc, char **argv)
{
    if (argc < 2)
        return NULL;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return "help";
    for (int i = 0; commands[i]; i++)
        if (strcmp(argv[1], commands[i]) == 0)
            return commands[i];
    return NULL;
}

/* Running ------------------------------------------------------------------------------------ */

static void run_prompt(struct host *host, lua_State *L)
{
    const char *name = program;
    program = NULL;
    prompt_run(host, L);
    program = name;
}

static bool run_main_part(struct host *host, lua_State *L, int argc, char **argv,
                          const struct options *options)
{
    bool has_script = options->script < argc;
    if (has_script && !run_script(L, argv[options->script], strcmp(argv[options->script - 1], "--") == 0))
        return false;
    if (options->is_interactive) {
        run_prompt(host, L);
    } else if (!has_script && !options->runs_text && !options->shows_version) {
        if (!isatty(STDIN_FILENO))
            return run_loaded(L, luaL_loadfile(L, NULL));
        print_version();
        run_prompt(host, L);
    }
    return true;
}

/* Once more, whatever became of it; 1: it cannot be watched. */
static int run_watched(struct host *host, lua_State *L, int argc, char **argv, const struct options *options)
{
    if (options->script >= argc || strcmp(argv[options->script], "-") == 0 || options->is_interactive) {
        fprintf(stderr, "%s: '--watch' needs the file of a script\n", program);
        return 1;
    }
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hotlua.rerun");
    if (interpreter_call(L, 1, 1) != LUA_OK)
        return 1;
    lua_getfield(L, -1, "start");
    lua_pushstring(L, argv[options->script]);
    if (interpreter_call(L, 1, 0) != LUA_OK)
        return 1;
    bool is_begun = options->ignores_environment || run_environment(L);
    if (is_begun && run_options(L, argv, options->script) && run_main_part(host, L, argc, argv, options) &&
        !host_was_stopped(host))
        host_run(host);
    interrupt_end(L);
    lua_getfield(L, -1, "finish");
    if (interpreter_call(L, 0, 1) != LUA_OK)
        return 1;
    return lua_toboolean(L, -1) ? INTERPRETER_AGAIN : 0;
}

int interpreter_run(struct host *host, lua_State *L, int argc, char **argv)
{
    if (argc > 0 && argv[0][0])
        program = argv[0];
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        print_version();
        return 0;
    }
    const char *command = find_command(argc, argv);
    if (command) {
        make_arg_table(L, argc, argv, 1);
        return run_command(L, command, argc, argv, 2);
    }
    struct options options = read_options(argc, argv);
    if (options.bad)
        return refuse_option(options.bad);
    if (options.shows_version)
        print_version();
    make_arg_table(L, argc, argv, options.script);
    if (options.is_watched)
        return run_watched(host, L, argc, argv, &options);
    bool is_interactive = options.is_interactive;
    if (!options.ignores_environment && !run_environment(L))
        return 1;
    if (!run_options(L, argv, options.script) || !run_main_part(host, L, argc, argv, &options))
        return 1;
    if (!is_interactive && !host_was_stopped(host))
        host_run(host);
    return 0;
}
