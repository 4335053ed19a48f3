"""A bot that says again what it is told: `!echo Hello`."""

import os

from tricord.clients import Bot, Message

bot = Bot("http://127.0.0.1:8008", "@echo:localhost", password=os.environ["BOT_PASSWORD"])


@bot.command("echo")
async def echo(message: Message, text: str) -> None:
    """Say it again."""
    await message.reply(text)


if __name__ == "__main__":
    bot.run()
