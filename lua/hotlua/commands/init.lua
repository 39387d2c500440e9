--- The commands: `hotlua test|inspect|check|stubs|new|help`. Each is a module
--- hotlua.commands.NAME that returns run(arguments) -> exit status.
local M = {}

local usages = {
  test = "hotlua test [busted options] [--isolate] [--jobs N] [--watch] [paths]",
  inspect = "hotlua inspect FILE.so [NAME ...] [--json]",
  check = "hotlua check OLD.so NEW.so [--json]",
  stubs = "hotlua stubs FILE.so | --hotlua",
  new = "hotlua new NAME",
  help = "hotlua help [COMMAND]",
}

M.usages = usages

local wrong_usage = { __tostring = function(e) return e.message end }

--- Ends a command that was called wrongly: prints `message` and its usage line, exit status 2.
--- @param name string of the command
--- @param message string?
function M.misuse(name, message)
  error(setmetatable({ name = name, message = message or "wrong arguments" }, wrong_usage), 0)
end

--- Ends a command for a reason the user can mend: `hotlua NAME: message`, exit status 1.
local refused = { __tostring = function(e) return e.message end }
function M.fail(message)
  error(setmetatable({ message = message }, refused), 0)
end

--- Splits arguments into what stands alone and what is spelled with dashes.
--- @param name string of the command
--- @param arguments string[]
--- @param known table<string, true> the options it has; another one is wrong usage
--- @return string[] words, table<string, true> options
function M.parse(name, arguments, known)
  local words, options, is_literal = {}, {}, false
  for _, argument in ipairs(arguments) do
    if is_literal or argument == "-" or not argument:find "^%-" then
      words[#words + 1] = argument
    elseif argument == "--" then
      is_literal = true
    elseif argument == "--help" or argument == "-h" then
      options.help = true
    elseif known[argument] then
      options[argument:gsub("^%-+", "")] = true
    else
      M.misuse(name, ("unknown option '%s'"):format(argument))
    end
  end
  return words, options
end

local function add_traceback(message)
  if type(message) == "table" then return message end
  return { message = tostring(message), trace = debug.traceback("", 2) }
end

local function say(...)
  io.stdout:flush()
  io.stderr:write(...)
end

--- Runs the command.
--- @param name string
--- @param arguments string[]
--- @return integer exit status
function M.run(name, arguments)
  local ok, status = xpcall(function()
    return require("hotlua.commands." .. name)(arguments)
  end, add_traceback)
  if ok then
    io.stdout:flush()
    return status or 0
  end
  if getmetatable(status) == wrong_usage then
    say(("hotlua %s: %s\nusage: %s\n"):format(status.name, status.message, usages[status.name]))
    return 2
  end
  say(("hotlua %s: %s\n"):format(name, tostring(status.message or status)))
  if os.getenv "HOTLUA_TRACE" and status.trace then say(status.trace, "\n") end
  return 1
end

--- The module `name`, or an end of the command that says which Debian package has it.
function M.need(name, package)
  local ok, module = pcall(require, name)
  if ok then return module end
  M.fail(("the Lua module '%s' is missing; install it: sudo apt install %s"):format(name, package))
end

-- Lists are arrays also when empty; dkjson cannot know that of a table.
local function mark_lists(dkjson, value, lists)
  for key, field in pairs(value) do
    if type(field) == "table" then
      mark_lists(dkjson, field, lists)
      if #field > 0 or (next(field) == nil and not lists[key]) then
        setmetatable(field, { __jsontype = "array" })
      elseif lists[key] then
        setmetatable(field, { __jsontype = "object" })
      end
    end
  end
  return value
end

--- The table as indented JSON, keys sorted, integers whole. `objects` names the fields that are
--- objects even when empty.
--- @param value table
--- @param objects table<string, true>?
--- @return string
function M.json(value, objects)
  local dkjson = M.need("dkjson", "lua-dkjson")
  mark_lists(dkjson, value, objects or {})
  local keys = {}
  local function collect(t)
    for key, field in pairs(t) do
      if type(key) == "string" then keys[key] = true end
      if type(field) == "table" then collect(field) end
    end
  end
  collect(value)
  local order = {}
  for key in pairs(keys) do order[#order + 1] = key end
  table.sort(order)
  return dkjson.encode(value, { indent = true, keyorder = order }) .. "\n"
end

return M
