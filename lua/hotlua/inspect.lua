--- What is in a shared object that is not loaded: exports, types, variables, sizes.
local core = require "hotlua.core"

local M = {}

-- A list whose elements are also found by name.
local function named(list)
  return setmetatable(list, {
    __index = function(_, name)
      if math.type(name) then return nil end
      for _, element in ipairs(list) do
        if element.name == name then return element end
      end
    end,
  })
end

local function exports_of(functions, variables)
  local exports = {}
  local function add(list)
    for _, symbol in ipairs(list) do
      if symbol.kind == "function" or symbol.exported then
        exports[#exports + 1] = {
          name = symbol.name, kind = symbol.kind, signature = symbol.signature, size = symbol.size,
          reason = symbol.reason,
        }
      end
    end
  end
  add(functions)
  add(variables)
  table.sort(exports, function(a, b) return a.name < b.name end)
  return exports
end

--- Opens a file to look at it; nothing of it is loaded. Raises when it is not a shared object.
--- @param path string
--- @return userdata image handle, table what is known of the file itself
function M.open(path)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'inspect' (string expected, got %s)"):format(type(path)), 3)
  end
  local image, message = core.inspect_open(path)
  if not image then error(message, 0) end
  local info, file = core.image_info(image), core.inspect_file(image)
  file.path, file.build_id = path, info.build_id
  return image, file
end

-- Shortened when many functions fail for the one reason that the file has no debug info.
local function drop_reason(list, reason)
  for _, element in ipairs(list) do
    if element.reason == reason then element.reason = nil end
  end
end

--- All of it. Lists may be asked by name too: `hot.inspect(path).functions.add.signature`.
--- @param path string
--- @return table { path, bytes, size, build_id, soname, needed, no_debug, refused, exports,
--- functions, variables, types }
function M.inspect(path)
  local image, file = M.open(path)
  local functions, variables = core.inspect_functions(image), core.inspect_variables(image)
  if file.no_debug then
    drop_reason(functions, file.no_debug)
    drop_reason(variables, file.no_debug)
  end
  file.exports = named(exports_of(functions, variables))
  file.functions, file.variables = named(functions), named(variables)
  file.types = named(core.inspect_types(image))
  return file
end

--- Only what has one of the names: reads no more of the file than that.
--- @param path string
--- @param names string[]
--- @return table as of M.inspect; raises when a name is neither symbol nor type
function M.select(path, names)
  local image, file = M.open(path)
  local lists = { ["function"] = {}, variable = {}, type = {} }
  for _, name in ipairs(names) do
    local found, what = core.inspect_named(image, name)
    if not found then
      error(("%s: no function, variable or type '%s'"):format(path, name), 0)
    end
    table.insert(lists[what], found)
    if found.typedef and found.tag then
      lists.type[#lists.type + 1] = core.inspect_type(image, found.type)
    end
  end
  file.exports = named(exports_of(lists["function"], lists.variable))
  file.functions, file.variables = named(lists["function"]), named(lists.variable)
  file.types = named(lists.type)
  return file
end

-- C text ---------------------------------------------------------------------------------------

local function count_bytes(size)
  return size == 1 and "1 byte" or ("%d bytes"):format(size)
end

-- A declaration with a comment that is aligned where the line is short.
local function declared(text, comment)
  if not comment then return text end
  return ("%-50s  /* %s */"):format(text, comment)
end

local function describe_file(file)
  local lines = {
    ("// %s: %s, %s in memory, build-id %s"):format(
      file.path, count_bytes(file.bytes), count_bytes(file.size), file.build_id),
  }
  if file.soname then lines[#lines + 1] = "// soname " .. file.soname end
  if #file.needed > 0 then lines[#lines + 1] = "// needs " .. table.concat(file.needed, ", ") end
  if file.no_debug then lines[#lines + 1] = "// types unknown: " .. file.no_debug end
  if file.refused then lines[#lines + 1] = "// hot.load would refuse it: " .. file.refused end
  return table.concat(lines, "\n") .. "\n"
end

local function describe_function(f)
  local text = (f.signature or f.name .. "()") .. ";"
  local notes = {}
  if f.size then notes[1] = count_bytes(f.size) end
  if f.reason then notes[#notes + 1] = f.reason end
  return declared(text, notes[1] and table.concat(notes, "; "))
end

local function describe_variable(v)
  local prefix = (v.exported and "" or "static ") .. (v.thread_local and "_Thread_local " or "")
  local notes = { count_bytes(v.size) }
  if not v.writable and not (v.shape and v.shape.const) then notes[#notes + 1] = "read-only" end
  if v.file and not v.exported then notes[#notes + 1] = v.file end
  if v.reason then notes[#notes + 1] = v.reason end
  return declared(prefix .. (v.signature or v.name) .. ";", table.concat(notes, ", "))
end

local function section(parts, title, list, describe)
  if #list == 0 then return end
  local lines = { ("\n// %s (%d)\n"):format(title, #list) }
  for _, element in ipairs(list) do lines[#lines + 1] = describe(element) end
  parts[#parts + 1] = table.concat(lines, "\n") .. "\n"
end

--- What M.inspect found, as C text.
--- @param file table
--- @return string
function M.text(file)
  local parts = { describe_file(file) }
  section(parts, "functions", file.functions, describe_function)
  section(parts, "variables", file.variables, describe_variable)
  section(parts, "types", file.types, function(t) return (t.definition:gsub("\n$", "")) end)
  return table.concat(parts)
end

return M
