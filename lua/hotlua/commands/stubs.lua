--- hotlua stubs FILE.so: annotations of a plugin's interface for the Lua language server.
local api_text = require "hotlua.commands.stubs_api"
local commands = require "hotlua.commands"
local inspect = require "hotlua.inspect"

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch "%a+" do
  keywords[word] = true
end

local function is_identifier(name)
  return name:find "^[%a_][%w_]*$" and not keywords[name]
end

local function identifier(name)
  name = name:gsub("[^%w_]", "_"):gsub("^%d", "_%0")
  return keywords[name] and name .. "_" or name
end

local function field_name(name)
  return name:find "^[%a_][%w_]*$" and name or ("[%q]"):format(name)
end

-- A stub's writer: its prefix of class names and its lines.
local Writer = {}
Writer.__index = Writer

function Writer:line(format, ...)
  self.lines[#self.lines + 1] = select("#", ...) > 0 and format:format(...) or format
end

local taken = { api = true, types = true, enums = true }

-- The class of a struct or union, the alias of an enum; nil for one without a name.
function Writer:class(name)
  if not name then return nil end
  name = identifier(name)
  return ("%s.%s"):format(self.prefix, taken[name] and name .. "_" or name)
end

local simple = { void = "nil", bool = "boolean", int = "integer", float = "number" }

function Writer:callback(shape)
  if not shape.parameters then return "function" end
  local parameters = {}
  for i, parameter in ipairs(shape.parameters) do
    parameters[i] = ("%s: %s"):format(
      identifier(parameter.name or "a" .. i), self:type(parameter, "result"))
  end
  if shape.variadic then parameters[#parameters + 1] = "..." end
  local text = ("fun(%s)"):format(table.concat(parameters, ", "))
  if shape.result and shape.result.kind ~= "void" then
    text = text .. ": " .. self:type(shape.result, "result")
  end
  return "(" .. text .. ")"
end

-- What Lua may give for a pointer besides an object, where C promises not to write.
local function literals(target)
  local is_bytes = target.kind == "int" and target.size == 1
  if target.kind == "void" then return "|string" end
  return is_bytes and "|string|table" or "|table"
end

function Writer:pointer(shape, place)
  local target = shape.target
  if not target then return "hotlua.object?" end
  if target.char and target.const then return "string?" end
  if target.kind == "function" then return self:callback(target) .. "?" end
  local is_record = target.kind == "struct" or target.kind == "union"
  local class = is_record and self:class(target.tag) or "hotlua.object"
  if place == "argument" and target.const then return class .. literals(target) .. "|nil" end
  return class .. "?"
end

--- The annotation of a C type.
--- @param shape table
--- @param place string "argument", "result" or "field": what Lua gives is more than what it gets
function Writer:type(shape, place)
  local kind = shape.kind
  if simple[kind] then return simple[kind] end
  if kind == "pointer" then return self:pointer(shape, place) end
  if kind == "function" then return self:callback(shape) end
  if kind == "enum" then
    local alias = self:class(shape.tag)
    return place ~= "result" and alias and alias .. "|integer" or "integer"
  end
  if kind == "struct" or kind == "union" then
    local class = self:class(shape.tag) or "hotlua.object"
    return place == "argument" and class .. "|table" or class
  end
  if kind == "array" and shape.target then
    return ("table<integer, %s>"):format(self:type(shape.target, "field"))
  end
  return "any"
end

-- Sections -------------------------------------------------------------------------------------

function Writer:fields(fields)
  for _, field in ipairs(fields) do
    if field.name then
      local kind = self:type(field, "field")
      self:line("---@field %s %s # %s", field_name(field.name), kind, field.type)
    elseif field.fields then
      self:fields(field.fields)
    end
  end
end

function Writer:record(definition)
  self:line("")
  local size = definition.size and (", %d bytes"):format(definition.size) or ""
  self:line("--- `%s`%s", definition.name, size)
  self:line("---@class %s: hotlua.object", self:class(definition.tag))
  self:fields(definition.fields)
end

function Writer:enumeration(definition)
  local class = self:class(definition.tag)
  if not class then return end
  self:line("")
  self:line("---@alias %s", class)
  for _, value in ipairs(definition.values) do
    self:line("---| %q # %d", value.name, value.value)
  end
end

local function bare(name)
  return (name:gsub("^%a+ ", ""))
end

function Writer:types(types)
  local makers, values, seen = {}, {}, {}
  for _, definition in ipairs(types) do
    local class = self:class(definition.tag)
    local is_record = definition.kind == "struct" or definition.kind == "union"
    if definition.fields and class then self:record(definition) end
    if definition.values then
      self:enumeration(definition)
      for _, value in ipairs(definition.values) do values[#values + 1] = value end
    end
    local name = bare(definition.name)
    if is_record and class and not definition.incomplete and not seen[name] then
      seen[name] = true
      makers[#makers + 1] = ("---@field %s fun(init?: table): %s"):format(field_name(name), class)
    end
  end
  self:line("")
  self:line("---@class %s.types: hotlua.types", self.prefix)
  for _, maker in ipairs(makers) do self:line(maker) end
  self:line("")
  self:line("---@class %s.enums: hotlua.enums", self.prefix)
  for _, value in ipairs(values) do
    self:line("---@field %s integer # %d", field_name(value.name), value.value)
  end
end

function Writer:variables(variables)
  self:line("")
  self:line("---@class %s.api", self.prefix)
  local written = {} -- statics of several files may share a name
  for _, variable in ipairs(variables) do
    local declaration = variable.signature or "type unknown"
    if not variable.exported then declaration = "static " .. declaration end
    local kind = variable.shape and self:type(variable.shape, "field") or "any"
    if not written[variable.name] then
      self:line("---@field %s %s # %s", field_name(variable.name), kind, declaration)
    end
    written[variable.name] = true
  end
  self:line("local api = {}")
end

function Writer:parameters(f)
  local names = {}
  for i, parameter in ipairs(f.parameters or {}) do
    names[i] = identifier(parameter.name or "a" .. i)
    self:line("---@param %s %s # %s", names[i], self:type(parameter, "argument"), parameter.type)
  end
  if f.variadic or f.unprototyped or not f.parameters then
    self:line("---@param ... any")
    names[#names + 1] = "..."
  end
  return table.concat(names, ", ")
end

function Writer:call(f)
  self:line("")
  if f.signature then self:line("--- `%s`", f.signature) end
  if f.reason then self:line("--- %s", f.reason) end
  local names = self:parameters(f)
  if not f.result then
    self:line("---@return any")
  elseif f.result.kind ~= "void" then
    self:line("---@return %s # %s", self:type(f.result, "result"), f.result.type)
  end
  if is_identifier(f.name) then
    self:line("function api.%s(%s) end", f.name, names)
  else
    self:line("api[%q] = function(%s) end", f.name, names)
  end
end

local function base_name(path)
  return (path:match "([^/]*)$":gsub("%.so[%d.]*$", ""):gsub("^lib", ""))
end

--- The stub as text.
--- @param file table what hot.inspect gives
--- @return string
local function write(file)
  local writer = setmetatable({ prefix = identifier(base_name(file.path)), lines = {} }, Writer)
  writer:line "---@meta"
  writer:line("-- Written by `hotlua stubs %s`. To use it:", file.path)
  writer:line("--     ---@type %s", writer.prefix)
  writer:line("--     local %s = hot.load(%q)", writer.prefix, file.path)
  if file.no_debug then writer:line("-- Types unknown: %s", file.no_debug) end
  writer:variables(file.variables)
  for _, f in ipairs(file.functions) do writer:call(f) end
  writer:types(file.types)
  writer:line("")
  writer:line("---@class %s: hotlua.plugin", writer.prefix)
  for _, part in ipairs { "api", "types", "enums" } do
    writer:line("---@field %s %s.%s", part, writer.prefix, part)
  end
  return table.concat(writer.lines, "\n") .. "\n"
end

return function(arguments)
  local words, options = commands.parse("stubs", arguments, { ["--hotlua"] = true })
  if options.help then return commands.run("help", { "stubs" }) end
  if options.hotlua and #words == 0 then
    io.write(api_text)
    return 0
  end
  if #words ~= 1 or options.hotlua then commands.misuse("stubs", "one file is needed") end
  io.write(write(inspect.inspect(words[1])))
  return 0
end
