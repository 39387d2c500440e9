--- What happens in a run, told over a pipe to the process that started it: one line for each event,
--- a Lua table. The other side must not trust it to be whole: the process may have crashed.
local uv = require "luv"

local M = {}

local function write(value, parts)
  if type(value) == "table" then
    parts[#parts + 1] = "{"
    for key, field in pairs(value) do
      parts[#parts + 1] = ("[%q]="):format(key):gsub("\\\n", "\\n")
      write(field, parts)
      parts[#parts + 1] = ","
    end
    parts[#parts + 1] = "}"
  elseif type(value) == "number" or type(value) == "boolean" then
    parts[#parts + 1] = ("%q"):format(value)
  else
    parts[#parts + 1] = ("%q"):format(tostring(value)):gsub("\\\n", "\\n"):gsub("\r", "\\r")
  end
end

--- One line for the table.
--- @param event table of strings, numbers, booleans and such tables
--- @return string
function M.encode(event)
  local parts = {}
  write(event, parts)
  return table.concat(parts) .. "\n"
end

--- The table of a line, nil if the line is none.
--- @param line string
--- @return table?
function M.decode(line)
  local chunk = load("return " .. line, "=event", "t", {})
  local ok, event = pcall(chunk or error)
  return ok and type(event) == "table" and event or nil
end

--- Splits what comes in pieces into lines.
--- @param on_event fun(event: table)
--- @return fun(piece: string)
function M.reader(on_event)
  local rest = ""
  return function(piece)
    rest = rest .. piece
    for line in rest:gmatch "([^\n]*)\n" do
      local event = M.decode(line)
      if event then on_event(event) end
    end
    rest = rest:match "[^\n]*$"
  end
end

local function plain_trace(trace)
  if type(trace) ~= "table" then return nil end
  return {
    short_src = trace.short_src, currentline = trace.currentline, traceback = trace.traceback,
    source = trace.source, what = trace.what, linedefined = trace.linedefined,
  }
end

local function plain_message(message)
  if message == nil then return nil end
  return type(message) == "string" and message or tostring(message)
end

-- What the run has opened, so that --watch knows what touches which file.
local function note_inputs(send)
  local seen = {}
  local function note(path)
    path = type(path) == "string" and uv.fs_realpath(path)
    if path and not seen[path] then
      seen[path] = true
      send { event = "input", path = path }
    end
  end
  for i, searcher in ipairs(package.searchers) do
    package.searchers[i] = function(name)
      local loader, path = searcher(name)
      if type(loader) == "function" then note(path) end
      return loader, path
    end
  end
  for _, name in ipairs { "loadfile", "dofile" } do
    local original = _G[name]
    _G[name] = function(path, ...)
      note(path)
      return original(path, ...)
    end
  end
  local open = io.open
  io.open = function(path, mode)
    if not mode or mode:find "^r" then note(path) end
    return open(path, mode)
  end
  local hot = require "hotlua"
  local load = hot.load
  hot.load = function(path, options)
    note(path)
    local watched = type(options) == "table" and options.watch
    for _, source in ipairs(type(watched) == "table" and watched or {}) do note(source) end
    return load(path, options)
  end
  return function() seen = {} end
end

--- Tells the descriptor everything that the run does.
--- @param busted table busted's own state
--- @param descriptor integer open for writing
--- @return fun(event: table) send tells one more event
function M.send(busted, descriptor)
  local function send(event) uv.fs_write(descriptor, M.encode(event)) end
  local forget_inputs = note_inputs(send)

  local function on(channel, fn)
    busted.subscribe(channel, function(...)
      local event = fn(...)
      if event then send(event) end
      return nil, true
    end, { priority = 1 })
  end

  for _, kind in ipairs { "file", "describe" } do
    on({ kind, "start" }, function(element)
      if kind == "file" then forget_inputs() end
      return { event = kind .. "_start", name = element.name, trace = plain_trace(element.trace) }
    end)
    on({ kind, "end" }, function(element)
      return { event = kind .. "_end", name = element.name }
    end)
  end
  on({ "test", "start" }, function(element)
    return {
      event = "test_start", name = element.name, kind = element.descriptor,
      trace = plain_trace(element.trace),
    }
  end)
  on({ "test", "end" }, function(element, _, status)
    return { event = "test_end", name = element.name, status = status, duration = element.duration,
      start = element.starttime }
  end)
  for _, status in ipairs { "failure", "error", "pending" } do
    on({ status }, function(element, _, message, trace)
      return {
        event = "problem", status = status, descriptor = element.descriptor or "file",
        name = element.name, message = plain_message(message), trace = plain_trace(trace),
      }
    end)
  end
  on({ "suite", "end" }, function() return { event = "suite_end" } end)
  return send
end

return M
