--- hot.module: `require` for Lua modules that reload when their file changes. The new chunk is compiled and
--- run apart; only when it has succeeded is what it made brought into the module that others already hold
--- (module_merge.lua). What the chunk of a hot module requires is hot, too.
local core = require "hotlua.core"
local merging = require "hotlua.module_merge"
local stamp_of = require("hotlua.stamp").of
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

-- name -> { name, path, file = its absolute path, text = what the table came from, table, initial, needs = records
-- that its chunk has required, watch, generation, failed }
local modules = {}

local running = {} -- the records whose chunks run now, the innermost last

-- A path that stays right when the program changes its directory.
local function absolute(path)
  return path:sub(1, 1) == "/" and path or uv.cwd() .. "/" .. path:gsub("^%./", "")
end

local function read(path)
  local file <close>, message = io.open(path, "rb")
  if not file then error("cannot open " .. message, 0) end
  return file:read("a")
end

local function source_of(record)
  return "@" .. record.path
end

local function traced(message)
  return type(message) == "string" and debug.traceback(message, 2) or message
end

-- While the chunk of a hot module runs, `require` is this.
local require_hot

-- Calls f with `require` in its place; the chunks of several modules may run one inside another.
local function run_inside(record, f, ...)
  local before = _G.require
  running[#running + 1] = record
  _G.require = require_hot
  local results = table.pack(xpcall(f, traced, ...))
  if _G.require == require_hot then _G.require = before end
  running[#running] = nil
  if not results[1] then error(results[2], 0) end
  return results[2]
end

-- The text as loadfile takes it: behind a byte order mark, and without a first line that begins with #.
local function run_chunk(record, text)
  local code = text:gsub("^\xef\xbb\xbf", ""):gsub("^#[^\n]*", "")
  local chunk, message = load(code, source_of(record))
  if not chunk then error(message, 0) end
  local needs = record.needs
  record.needs = {}
  local ok, result = pcall(run_inside, record, chunk, record.name, record.path)
  if not ok then
    for needed in pairs(needs) do record.needs[needed] = true end
    error(result, 0)
  end
  return result
end

local function check_table(record, result)
  if type(result) == "table" then return end
  error(("hot.module: module '%s' returns a %s; a module that reloads returns a table"):format(
    record.name, type(result)), 0)
end

-- Reloading ---------------------------------------------------------------------------------------

local function bring_in(record, new)
  local merge = merging.plan(record.table, new, source_of(record), record.initial)
  local on_reload = rawget(new, "on_reload")
  local is_asked = type(on_reload) == "function"
  local before = is_asked and merge:copy_of_old() or nil
  if is_asked then merge:save_all() end
  local ok, message = xpcall(function()
    merge:apply()
    merge:replace_in_own()
    for _, other in pairs(modules) do
      if other.table and other ~= record then merge:replace_in(other.table, other.initial) end
    end
    if is_asked then on_reload(before) end
  end, debug.traceback)
  if not ok then
    merge:revert()
    error(message, 0)
  end
  merge:forward()
  record.initial = merge.fresh
end

-- Phase one makes the new table without touching the old; phase two brings it in, and undoes itself on an
-- error.
local function reload(record)
  local text = read(record.file)
  if text == record.text then return false end
  local new = run_chunk(record, text)
  check_table(record, new)
  bring_in(record, new)
  record.text = text
  record.generation = record.generation + 1
  return true
end

-- One saving may be told more than once; what failed is tried again when the file, or a module that it requires,
-- is saved again. A file that has gone leaves the module as it is.
local function reload_or_keep(record, is_pressed)
  local stamp = stamp_of(record.file)
  if not stamp or record.is_loading then return false end
  if record.failed and stamp == record.failed_stamp and not is_pressed then return false end
  record.is_loading = true
  local ok, result = pcall(reload, record)
  record.is_loading = nil
  record.failed = not ok and result or nil
  record.failed_stamp = not ok and stamp or nil
  if not ok then task.on_error(result, ("hot.module '%s' stays as it was"):format(record.name)) end
  return ok and result
end

-- Those that could not be reloaded, perhaps for want of what a module that they require has now.
local function retry_users(record)
  for _, other in pairs(modules) do
    if other.failed and other.needs[record] and reload_or_keep(other, true) then retry_users(other) end
  end
end

local function on_change(record)
  if reload_or_keep(record) then retry_users(record) end
end

-- Loading -----------------------------------------------------------------------------------------

local function new_record(name, path)
  local record = { name = name, path = path, file = absolute(path), generation = 1, needs = {} }
  modules[name] = record
  return record
end

local function set_table(record, result)
  record.table = result
  package.loaded[record.name] = result
  record.watch = core.watch_file(record.file, function(kind)
    if kind == "changed" then on_change(record) end
  end)
end

-- Runs the module for the first time. A module that requires this one meanwhile has got a table already: that
-- is the one, then.
local function load_first(record)
  record.is_loading = true
  local ok, result = pcall(function()
    record.text = read(record.file)
    return run_chunk(record, record.text)
  end)
  record.is_loading = nil
  if not ok then
    modules[record.name] = nil
    error(result, 0)
  end
  if type(result) ~= "table" then return result end
  if record.table then
    local merge = merging.plan(record.table, result, source_of(record))
    merge:apply()
    merge:forward()
    result = record.table
  end
  set_table(record, result)
  record.initial = merging.initial(result, source_of(record))
  return result
end

-- A module that was loaded by `require` is hot from now on. What it held at first is not known.
local function adopt(record, result)
  record.text = read(record.file)
  set_table(record, result)
  return result
end

-- The module's table; one that is being loaded has an empty one until its chunk has returned.
local function table_of(record)
  if not record.table then record.table = {} end
  return record.table
end

local function is_reloadable(name)
  return package.preload[name] == nil and name ~= "hotlua" and not name:find "^hotlua%."
end

local plain_require = require

function require_hot(name)
  local user = running[#running]
  local record = type(name) == "string" and modules[name]
  if record then
    if user then user.needs[record] = true end
    if record.table then reload_or_keep(record) end
    return table_of(record), record.path
  end
  local path = user and type(name) == "string" and is_reloadable(name) and package.searchpath(name, package.path)
  if not path then return plain_require(name) end
  local found = package.loaded[name]
  if found ~= nil and type(found) ~= "table" then return found end
  record = new_record(name, path)
  user.needs[record] = true
  if found then return adopt(record, found) end
  local result = load_first(record)
  if not record.watch then
    modules[name], user.needs[record] = nil, nil
    if package.loaded[name] == nil then package.loaded[name] = result == nil and true or result end
    result = package.loaded[name]
  end
  return result, path
end

local function find(name)
  local path, message = package.searchpath(name, package.path)
  if not path then error(("hot.module: module '%s' not found:%s"):format(name, message), 0) end
  return path
end

local function load_new(name)
  local record = new_record(name, find(name))
  local found = package.loaded[name]
  if type(found) == "table" then return adopt(record, found) end
  local result = load_first(record)
  if not record.watch then modules[name] = nil end
  check_table(record, result)
  return result
end

--- Loads a Lua module as `require` does, and again whenever its file changes: fields are replaced all at
--- once, `local` state is kept through upvalues of the same name, and an error leaves the old module as it
--- was. `on_reload(old)` of the new module gets a copy of the old table. A file that is saved with the same
--- text has not changed. Modules that it requires are hot as well, and are reloaded before it.
--- @param name string as for `require`
--- @return table module
function M.load(name)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'module' (string expected, got %s)"):format(type(name)), 2)
  end
  local record, user = modules[name], running[#running]
  if not record then
    local ok, result = pcall(load_new, name)
    if not ok then error(result, 2) end
    record = modules[name]
  elseif user and record.table then
    reload_or_keep(record)
  end
  if user then user.needs[record] = true end
  return table_of(record)
end

--- What is known of a hot module: { name, path, generation, failed }, nil if it is none.
function M.info(name)
  local record = modules[name]
  return record and {
    name = record.name, path = record.path, generation = record.generation, failed = record.failed,
  }
end

return M
