--- hot.module: `require` for Lua modules that reload when their file changes. The new chunk is compiled and
--- run apart; only when it has succeeded are its functions and fields moved into the module that others
--- already hold.
local core = require "hotlua.core"
local stamp_of = require("hotlua.stamp").of
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local modules = {} -- name -> { path, watch, table, text = what the table came from }

local function each_upvalue(fn, visit)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if not name then return end
    visit(i, name, value)
  end
end

-- The functions reachable from a value through tables, metatables and upvalues: path-independent, each once.
local function collect_functions(root)
  local functions, seen = {}, {}
  local function walk(value)
    if type(value) == "function" then
      if seen[value] then return end
      seen[value] = true
      if debug.getinfo(value, "S").what == "C" then return end
      functions[#functions + 1] = value
      each_upvalue(value, function(_, name, upvalue)
        if name ~= "_ENV" then walk(upvalue) end
      end)
    elseif type(value) == "table" and value ~= _G and value ~= package.loaded and not seen[value] then
      seen[value] = true
      for key, field in next, value do
        walk(key)
        walk(field)
      end
      walk(debug.getmetatable(value))
    end
  end
  walk(root)
  return functions
end

-- The first upvalue of each name among the module's own functions: where its `local` state lives.
local function upvalues_by_name(functions, source)
  local found = {}
  for _, fn in ipairs(functions) do
    if debug.getinfo(fn, "S").source == source then
      each_upvalue(fn, function(i, name, value)
        if not found[name] then found[name] = { fn = fn, index = i, value = value } end
      end)
    end
  end
  return found
end

-- Data, not code: what a running module has accumulated and wants to keep.
local function is_state(value)
  return type(value) ~= "function"
end

-- Which upvalues of the new functions are to be joined with the old ones. Computed before anything is
-- changed.
local function plan_joins(old_functions, new_functions, source)
  local old = upvalues_by_name(old_functions, source)
  local joins = {}
  for _, fn in ipairs(new_functions) do
    if debug.getinfo(fn, "S").source == source then
      each_upvalue(fn, function(i, name, value)
        local kept = old[name]
        local same_kind = kept and (type(kept.value) == type(value) or value == nil or kept.value == nil)
        if kept and name ~= "_ENV" and is_state(value) and is_state(kept.value) and same_kind then
          joins[#joins + 1] = { fn = fn, index = i, old = kept }
        end
      end)
    end
  end
  return joins
end

-- Moves the fields of `new` into `old`, nested tables in place so that who holds one keeps it. `undo` records
-- how to put everything back.
local function merge(old, new, undo, merged)
  if merged[new] then return end
  merged[new] = old
  local function set(key, value)
    local before = rawget(old, key)
    undo[#undo + 1] = function() rawset(old, key, before) end
    rawset(old, key, value)
  end
  local removed = {}
  for key in next, old do
    if rawget(new, key) == nil then removed[#removed + 1] = key end
  end
  for _, key in ipairs(removed) do set(key, nil) end
  for key, value in next, new do
    local current = rawget(old, key)
    if type(value) == "table" and type(current) == "table" and value ~= current then
      merge(current, value, undo, merged)
    else
      set(key, value)
    end
  end
  local before, after = debug.getmetatable(old), debug.getmetatable(new)
  if before ~= after then
    if type(before) == "table" and type(after) == "table" then
      merge(before, after, undo, merged)
    else
      undo[#undo + 1] = function() debug.setmetatable(old, before) end
      debug.setmetatable(old, after)
    end
  end
end

-- What the new functions know as their module, or a table in it, is the old table from now on.
local function point_to_merged(functions, merged, undo)
  for _, fn in ipairs(functions) do
    each_upvalue(fn, function(i, _, value)
      local old = value ~= nil and merged[value]
      if not old or old == value then return end
      undo[#undo + 1] = function() debug.setupvalue(fn, i, value) end
      debug.setupvalue(fn, i, old)
    end)
  end
end

-- Old functions that somebody holds as upvalues of other hot modules become the new ones there.
local function plan_replacements(old, new)
  local replacements = {}
  local seen = {}
  local function pair(a, b)
    if type(a) == "function" and type(b) == "function" then
      replacements[a] = b
    elseif type(a) == "table" and type(b) == "table" and not seen[a] then
      seen[a] = true
      for key, value in next, a do pair(value, rawget(b, key)) end
      pair(debug.getmetatable(a), debug.getmetatable(b))
    end
  end
  pair(old, new)
  return replacements
end

local function replace_upvalues(record, replacements, undo)
  for _, other in pairs(modules) do
    if other ~= record then
      for _, fn in ipairs(collect_functions(other.table)) do
        each_upvalue(fn, function(i, _, value)
          local new = replacements[value]
          if new then
            undo[#undo + 1] = function() debug.setupvalue(fn, i, value) end
            debug.setupvalue(fn, i, new)
          end
        end)
      end
    end
  end
end

local function find(name)
  local path, message = package.searchpath(name, package.path)
  if not path then error(("hot.module: module '%s' not found:%s"):format(name, message), 0) end
  return path
end

local function read(path)
  local file <close>, message = io.open(path, "rb")
  if not file then error("cannot open " .. message, 0) end
  return file:read("a")
end

-- The text as loadfile takes it: behind a byte order mark, and without a first line that begins with #.
local function run_chunk(name, path, text)
  local chunk, message = load(text:gsub("^\xef\xbb\xbf", ""):gsub("^#[^\n]*", ""), "@" .. path)
  if not chunk then error(message, 0) end
  local ok, result = xpcall(chunk, function(m)
    return type(m) == "string" and debug.traceback(m, 2) or m
  end, name, path)
  if not ok then error(result, 0) end
  if type(result) ~= "table" then
    error(("hot.module: module '%s' returns a %s; a module that reloads returns a table"):format(
      name, type(result)), 0)
  end
  return result
end

-- Phase one makes the new table without touching the old; phase two moves it over, and undoes itself on an
-- error.
local function reload(record)
  local text = read(record.path)
  if text == record.text then return end
  local new = run_chunk(record.name, record.path, text)
  local old = record.table
  local source = "@" .. record.path
  local old_functions, new_functions = collect_functions(old), collect_functions(new)
  local joins = plan_joins(old_functions, new_functions, source)
  local replacements = plan_replacements(old, new)
  local before = {}
  for key, value in next, old do before[key] = value end
  for _, join in ipairs(joins) do debug.upvaluejoin(join.fn, join.index, join.old.fn, join.old.index) end
  local undo = {}
  local ok, message = xpcall(function()
    local merged = {}
    merge(old, new, undo, merged)
    point_to_merged(new_functions, merged, undo)
    replace_upvalues(record, replacements, undo)
    if type(rawget(old, "on_reload")) == "function" then old.on_reload(before) end
  end, debug.traceback)
  if not ok then
    for i = #undo, 1, -1 do undo[i]() end
    error(message, 0)
  end
  record.text = text
  record.generation = record.generation + 1
end

-- One saving may be told more than once; what failed is tried again when the file is saved again. A file that
-- has gone leaves the module as it is.
local function reload_or_keep(record)
  local stamp = stamp_of(record.path)
  if not stamp or (record.failed and stamp == record.failed_stamp) then return end
  local ok, message = pcall(reload, record)
  record.failed = not ok and message or nil
  record.failed_stamp = not ok and stamp or nil
  if not ok then task.on_error(message, ("hot.module '%s' stays as it was"):format(record.name)) end
end

--- Loads a Lua module as `require` does, and again whenever its file changes: fields are replaced all at
--- once, `local` state is kept through upvalues of the same name, and an error leaves the old module as it
--- was. `on_reload(old)` of the new module gets a copy of the old table. A file that is saved with the same
--- text has not changed.
--- @param name string as for `require`
--- @return table module
function M.load(name)
  local record = modules[name]
  if record then return record.table end
  local path = find(name)
  record = { name = name, path = path, generation = 1 }
  modules[name] = record
  local ok, result = pcall(function()
    record.text = read(path)
    return run_chunk(name, path, record.text)
  end)
  if not ok then
    modules[name] = nil
    error(result, 2)
  end
  record.table = result
  package.loaded[name] = result
  local absolute = path:sub(1, 1) == "/" and path or uv.cwd() .. "/" .. path:gsub("^%./", "")
  record.watch = core.watch_file(absolute, function(kind)
    if kind == "changed" then reload_or_keep(record) end
  end)
  return record.table
end

--- What is known of a hot module: { name, path, generation, failed }, nil if it is none.
function M.info(name)
  local record = modules[name]
  return record and {
    name = record.name, path = record.path, generation = record.generation, failed = record.failed,
  }
end

return M
