--- A plugin of functions that note what they are given, a C program that calls them, and the same calls from
--- Lua: what both note is compared call by call.
---
--- A function: { name, parameters = kinds, result = kind or nil, echo = the parameter it returns, variadic =
--- kinds }.
local M = {}

local prelude <const> = [[
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char log_text[1 << 16];
static size_t log_size;

__attribute__((noinline)) static void note(const char *text)
{
    size_t size = strlen(text);
    if (size >= sizeof log_text - log_size)
        return;
    memcpy(log_text + log_size, text, size + 1);
    log_size += size;
}

__attribute__((noinline)) static void note_integer(int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld ", (long long)value);
    note(text);
}

__attribute__((noinline)) static void note_float(double value)
{
    char text[64];
    snprintf(text, sizeof text, "%a ", value);
    note(value == value ? text : "nan ");
}

static void note_text_or_nil(const char *text)
{
    note(text ? "\"" : "nil");
    note(text ? text : "");
    note(text ? "\" " : " ");
}

void note_words(const char *text) { note(text); }

const char *take_log(void)
{
    log_size = 0;
    return log_text;
}
]]

-- Defines a kind and before it those that it uses, each once.
local function define(kind, defined, lines)
  if defined[kind] then return end
  defined[kind] = true
  for _, used in ipairs(kind.uses) do define(used, defined, lines) end
  if kind.define then lines[#lines + 1] = kind.define() end
end

local function parameter_list(fn)
  local list = {}
  for i, kind in ipairs(fn.parameters) do list[i] = kind.declare("a" .. i) end
  if fn.variadic then list[#list + 1] = "..." end
  return #list > 0 and table.concat(list, ", ") or "void"
end

local function body(fn)
  local lines = { "note(\"given: \");" }
  for i, kind in ipairs(fn.parameters) do lines[#lines + 1] = kind.note("a" .. i) end
  if fn.variadic then
    lines[#lines + 1] = ("va_list list; va_start(list, a%d);"):format(#fn.parameters)
    for i, kind in ipairs(fn.variadic) do
      lines[#lines + 1] = ("%s v%d = va_arg(list, %s); %s"):format(kind.c, i, kind.c, kind.note("v" .. i))
    end
    lines[#lines + 1] = "va_end(list);"
  end
  for i, kind in ipairs(fn.parameters) do
    if kind.change then lines[#lines + 1] = kind.change("a" .. i) end
  end
  if fn.echo then
    lines[#lines + 1] = ("return a%d;"):format(fn.echo)
  elseif fn.result then
    lines[#lines + 1] = fn.result.returns(fn.answer)
  end
  return table.concat(lines, "\n  ")
end

--- The plugin in C.
function M.plugin_source(functions)
  local defined, lines = {}, { prelude }
  for _, fn in ipairs(functions) do
    if fn.result then define(fn.result, defined, lines) end
    for _, kind in ipairs(fn.parameters) do define(kind, defined, lines) end
  end
  for _, fn in ipairs(functions) do
    lines[#lines + 1] = ("%s %s(%s)\n{\n  %s\n}"):format(fn.result and fn.result.c or "void", fn.name,
      parameter_list(fn), body(fn))
  end
  return table.concat(lines, "\n") .. "\n"
end

-- All of the arguments' kinds in order.
local function kinds_of(fn)
  local kinds = { table.unpack(fn.parameters) }
  for _, kind in ipairs(fn.variadic or {}) do kinds[#kinds + 1] = kind end
  return kinds
end

--- Random arguments for `times` calls of each function, and what each function without echo returns.
function M.draw_calls(functions, times)
  local calls = {}
  for _, fn in ipairs(functions) do
    if fn.result and not fn.echo then fn.answer = fn.result.random() end
    for number = 1, times do
      local values = {}
      for i, kind in ipairs(kinds_of(fn)) do values[i] = kind.random() end
      calls[#calls + 1] = { fn = fn, values = values, label = ("%s#%d"):format(fn.name, number) }
    end
  end
  return calls
end

local function call_in_c(call, number)
  local fn, lines, arguments = call.fn, {}, {}
  for i, kind in ipairs(kinds_of(fn)) do
    lines[#lines + 1] = kind.variable("a" .. i, call.values[i])
    arguments[i] = "a" .. i
  end
  local expression = ("%s(%s)"):format(fn.name, table.concat(arguments, ", "))
  if fn.result then
    lines[#lines + 1] = ("%s r = %s; note(\"result: \"); %s"):format(fn.result.c, expression, fn.result.note "r")
  else
    lines[#lines + 1] = expression .. ";"
  end
  lines[#lines + 1] = "note(\"left: \");"
  for i, kind in ipairs(fn.parameters) do
    if kind.change then lines[#lines + 1] = kind.note("a" .. i) end
  end
  return ("static void call_%d(void)\n{\n  %s\n  puts(take_log());\n}"):format(number, table.concat(lines, "\n  "))
end

--- The program that makes the calls, one line of output for each, from the plugin's source.
function M.caller_source(plugin_source, calls)
  local lines, run = { plugin_source }, {}
  for number, call in ipairs(calls) do
    lines[#lines + 1] = call_in_c(call, number)
    run[number] = ("  call_%d();"):format(number)
  end
  lines[#lines + 1] = ("int main(void)\n{\n%s\n  return 0;\n}\n"):format(table.concat(run, "\n"))
  return table.concat(lines, "\n")
end

local function make_call(plugin, call)
  local fn, api, given = call.fn, plugin.api, {}
  local kinds = kinds_of(fn)
  for i, kind in ipairs(kinds) do given[i] = kind.give(call.values[i], plugin) end
  local result = api[fn.name](table.unpack(given, 1, #kinds))
  if fn.result then
    api.note_words "result: "
    fn.result.show(plugin, result)
  end
  api.note_words "left: "
  for i, kind in ipairs(fn.parameters) do
    if kind.change then kind.show(plugin, given[i]) end
  end
  return api.take_log()
end

--- Make the calls from Lua and compare with the program's lines. What is wrong, as a list of lines.
function M.differences(plugin, calls, expected)
  local problems = {}
  for number, call in ipairs(calls) do
    local ok, found = pcall(make_call, plugin, call)
    if not ok then plugin.api.take_log() end
    if found ~= expected[number] then
      problems[#problems + 1] = ("%s: %s(%s)\n    C:   %s\n    Lua: %s"):format(call.label, call.fn.name,
        parameter_list(call.fn), expected[number], tostring(found))
    end
  end
  return problems
end

return M
