--- hotlua new [DIRECTORY/]NAME: a folder with a plugin, a program, specs and what editors need.
local api_text = require "hotlua.commands.stubs_api"
local commands = require "hotlua.commands"
local files = require "hotlua.commands.new_files"
local uv = require "luv"

-- nil when the name will do, else what is wrong with it.
local function refusal(name)
  if name == "hotlua" then return "'hotlua' is this program's own name; choose another" end
  if #name > 64 then return "the name is longer than 64 characters" end
  if not name:find "^%a[%w_-]*$" then
    local rule = "letters, digits, _ and -, beginning with a letter"
    return ("'%s' is no name for a plugin: %s"):format(name, rule)
  end
end

-- The program as the Makefile falls back on it where none is on PATH.
local function own_path()
  local path = uv.exepath() or "hotlua"
  return path:find "[%s$#]" and "hotlua" or path
end

local function fill(text, values)
  return (text:gsub("@(%u+)@", values))
end

local function make_directory(path)
  local ok, message, code = uv.fs_mkdir(path, tonumber("755", 8))
  if not ok and code ~= "EEXIST" then commands.fail(message) end
end

local function write_file(path, text)
  local file, message = io.open(path, "w")
  if not file then commands.fail(message) end
  local ok, problem = file:write(text)
  if not (ok and file:close()) then
    commands.fail(("%s: %s"):format(path, problem or "cannot be written"))
  end
end

return function(arguments)
  local words, options = commands.parse("new", arguments, {})
  if options.help then return commands.run("help", { "new" }) end
  if #words ~= 1 then commands.misuse("new", "one name is needed") end
  local place = words[1]:gsub("(.)/+$", "%1")
  local name = place:match "[^/]*$"
  local problem = refusal(name)
  if problem then commands.fail(problem) end
  local ok, message, code = uv.fs_mkdir(place, tonumber("755", 8))
  if not ok then
    local exists = "'%s' is already here; choose another name, or remove it"
    commands.fail(code == "EEXIST" and exists:format(place) or message)
  end
  local values = { PLACE = place, NAME = name, CLASS = name:gsub("%-", "_"), HOTLUA = own_path() }
  for _, directory in ipairs { "src", "spec", "stubs" } do
    make_directory(place .. "/" .. directory)
  end
  for path, text in pairs(files) do
    write_file(place .. "/" .. fill(path, values), fill(text, values))
  end
  write_file(place .. "/stubs/hotlua.lua", api_text)
  print(fill("made @PLACE@/. Now:\n    cd @PLACE@\n    make test\n" ..
    "    make run    (and change src/@NAME@.c meanwhile)", values))
  return 0
end
