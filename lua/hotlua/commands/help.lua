--- hotlua help [COMMAND], hotlua --help.
local commands = require "hotlua.commands"

local general = [==[
usage: hotlua [options] [script [args]]
       hotlua COMMAND ...

Runs a Lua script, then its event loop. Without a script: a prompt.

options (those of lua5.4):
  -e STAT          run the string STAT
  -l MOD, -l G=MOD require MOD, into the global MOD or G
  -i               a prompt after the script
  -v               show the version
  -E               ignore environment variables
  -W               turn warnings on
  --watch          run the script again when its file changes, the plugins kept
  --               end of options
  -                the script is standard input
  --version        show the version
  --help           show this

commands (a script of such a name is ./NAME):
  test             run specs with busted inside this host
  inspect          show a shared object's exports, types and variables
  check            show what a reload would keep, reset and refuse
  stubs            write LuaLS annotations for a plugin
  new              make a ready project
  help COMMAND     say more about one
]==]

local more = {
  test = [[
Runs busted's own runner inside this host, with every option of busted's and with .busted files;
the exit status is busted's.
  --isolate        each spec file in a process of its own: a crash is that file's failure
  --jobs N         so many processes at a time
  --watch          run again what a changed file touches
]],
  inspect = [[
Shows, as C text, what the shared object exports (functions with their signatures, variables with
sizes) and its named types with offsets and sizes. The file is not loaded: nothing of it runs.
Names and types come from its debug information (compile with -g).
  NAME ...         only these functions, variables and types: quick on large files
  --json           the same as JSON (needs lua-dkjson)
]],
  check = [[
Compares two versions of a plugin without running them: functions added, removed, changed; variables
kept, converted, reset, refused, by path; changed types before and after. When something would be
lost it prints a `migrate` function to be filled in. Exit status 1 if the reload would be refused.
  --json           the same as JSON (needs lua-dkjson)
]],
  stubs = [[
Writes annotations (---@meta) for the Lua language server to standard output: functions, structs
and enums of the plugin, so that an editor completes and checks `plugin.api.NAME(...)`.
    hotlua stubs counter.so > stubs/counter.lua
  --hotlua         those of hotlua itself
]],
  new = [[
Makes a folder NAME with a plugin in C, main.lua with a policy and a migration, a spec with a reload
and a migration test, Makefile, and the files that editors and busted read. NAME: letters, digits
and _, beginning with a letter; in front of it may stand the folder to make it in. Then:
    cd NAME && make && make test && hotlua main.lua
]],
  help = [[
Says what the commands do.
]],
}

return function(arguments)
  local name = arguments[1]
  if name == nil or name:find "^%-" then
    io.write(general)
    return 0
  end
  if not more[name] then commands.misuse("help", ("there is no command '%s'"):format(name)) end
  io.write("usage: ", commands.usages[name], "\n\n", more[name])
  return 0
end
