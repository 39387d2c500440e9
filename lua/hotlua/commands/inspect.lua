--- hotlua inspect FILE.so [NAME …] [--json]
local commands = require "hotlua.commands"
local inspect = require "hotlua.inspect"

return function(arguments)
  local words, options = commands.parse("inspect", arguments, { ["--json"] = true })
  if options.help then return commands.run("help", { "inspect" }) end
  local path = table.remove(words, 1)
  if not path then commands.misuse("inspect", "which file?") end
  local file = #words > 0 and inspect.select(path, words) or inspect.inspect(path)
  io.write(options.json and commands.json(file) or inspect.text(file))
  return 0
end
