--- C sources to shared objects, with the user's compiler, kept by content: the same text with the
--- same flags is compiled once on a machine.
local uv = require "luv"
local files = require "hotlua.test.files"

local M = {}

local keep_days = 14

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- FNV-1a; the key itself is kept beside the result and compared.
local function hash(text)
  local value = 0xcbf29ce484222325
  for i = 1, #text do value = (value ~ text:byte(i)) * 0x100000001b3 end
  return ("%016x"):format(value)
end

-- The folder with hotlua/plugin.h, nil if there is none.
local function include_directory()
  local program = uv.exepath():match "^(.*)/[^/]*$"
  local places = { program .. "/../include", uv.cwd() .. "/include", "/usr/local/include" }
  for _, directory in ipairs(places) do
    local path = uv.fs_realpath(directory)
    if path and files.read(path .. "/hotlua/plugin.h") then return path end
  end
end

local cache_directory

local function cache()
  if cache_directory then return cache_directory end
  local base = os.getenv "XDG_CACHE_HOME"
  if not base or base:sub(1, 1) ~= "/" then base = (os.getenv "HOME" or "") .. "/.cache" end
  local path = base .. "/hotlua"
  if base:sub(1, 1) ~= "/" or not files.make_directory(path) or not uv.fs_access(path, "W") then
    path = files.temporary_directory()
    files.remove_at_exit(path)
  end
  cache_directory = path
  return path
end

-- Throws away what was not used for some time.
local function sweep()
  local oldest = os.time() - keep_days * 24 * 3600
  for name in files.entries(cache()) do
    local path = cache() .. "/" .. name
    local stat = #name == 16 and uv.fs_stat(path)
    if stat and stat.mtime.sec < oldest then files.remove(path) end
  end
end

local function is_file(text)
  return not text:find "[\n;{]" and uv.fs_stat(text) ~= nil
end

-- The sources as a list of { name, text, path }; path where they are files of the user's.
local function read_sources(given)
  local sources = {}
  local function add(name, text)
    if type(text) ~= "string" then
      error(("bad argument #1 to 'build' (C source expected, got %s)"):format(type(text)), 0)
    end
    local path = is_file(text) and uv.fs_realpath(text)
    if path then name, text = path, files.read(path) end
    sources[#sources + 1] = { name = name, text = text, path = path }
  end
  if type(given) ~= "table" then
    add("plugin.c", given)
    return sources
  end
  for i, text in ipairs(given) do add(("plugin%d.c"):format(i), text) end
  local names = {}
  for name in pairs(given) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do add(name, given[name]) end
  return sources
end

local function command(sources, flags, output)
  local words = { os.getenv "CC" or "cc", "-g -shared -fPIC -o", quote(output) }
  local include = include_directory()
  if include then words[#words + 1] = "-I" .. quote(include) end
  for _, source in ipairs(sources) do
    if not source.name:find "%.h$" then words[#words + 1] = quote(source.name) end
  end
  if type(flags) == "table" then
    for _, flag in ipairs(flags) do words[#words + 1] = quote(flag) end
  else
    words[#words + 1] = flags
  end
  return table.concat(words, " ")
end

-- Does the result depend on files that the key does not know?
local function has_hidden_input(sources, flags)
  for _, source in ipairs(sources) do
    for name in source.text:gmatch '#%s*include%s*"([^"]+)"' do
      local is_known = name == "hotlua/plugin.h"
      for _, other in ipairs(sources) do is_known = is_known or other.name == name end
      if not is_known then return true end
    end
  end
  local text = type(flags) == "table" and table.concat(flags, " ") or flags or ""
  return text:find "%-I" or text:find "%-L" or text:find "%-include" or
    text:find "%f[%S][^-%s][^%s]*%.%a"
end

local function key_of(sources, flags)
  local parts = { command(sources, flags, "") }
  local include = include_directory()
  for _, source in ipairs(sources) do
    parts[#parts + 1] = source.name
    parts[#parts + 1] = source.text
    if include and source.text:find("hotlua/plugin.h", 1, true) then
      parts[#parts + 1] = files.read(include .. "/hotlua/plugin.h")
    end
  end
  return table.concat(parts, "\0")
end

local is_swept = false

local function compile(sources, flags, directory)
  if not is_swept then
    is_swept = true
    sweep()
  end
  files.make_directory(directory)
  for _, source in ipairs(sources) do
    if not source.path then
      files.make_directory((directory .. "/" .. source.name):match "^(.*)/")
      files.write(directory .. "/" .. source.name, source.text)
    end
  end
  local output = ("%s/plugin.so.%d"):format(directory, uv.os_getpid())
  local line = command(sources, flags, output)
  local pipe = assert(io.popen(("cd %s && %s 2>&1"):format(quote(directory), line)))
  local words = pipe:read "a"
  if not pipe:close() then
    os.remove(output)
    error(("t.build: the compiler refuses the source\n%s\n(%s)"):format(words, line), 0)
  end
  assert(os.rename(output, directory .. "/plugin.so"))
end

--- Compiles; raises with the compiler's words. What is returned must not be written to.
--- @param given string|table a source, the path of one, a list of those, or name = source
--- @param flags string|string[]?
--- @return string path of the shared object
function M.compile(given, flags)
  local sources = read_sources(given)
  local key = key_of(sources, flags)
  local directory = cache() .. "/" .. hash(key)
  local result = directory .. "/plugin.so"
  if has_hidden_input(sources, flags) then
    compile(sources, flags, directory)
    return result
  end
  if files.read(directory .. "/key") == key and uv.fs_stat(result) then
    uv.fs_utime(directory, os.time(), os.time())
    return result
  end
  compile(sources, flags, directory)
  files.write(directory .. "/key", key)
  return result
end

--- The files that a source is made of, for --watch.
--- @return string[]
function M.inputs(given)
  local paths = {}
  for _, source in ipairs(read_sources(given)) do paths[#paths + 1] = source.path end
  return paths
end

return M
