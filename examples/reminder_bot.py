"""A bot that reminds people: `!remind 10 water the plants` ten minutes later."""

import os

import trio

from tricord.clients import Bot, Message

bot = Bot("http://127.0.0.1:8008", "@reminder:localhost", password=os.environ["BOT_PASSWORD"])


@bot.command("remind")
async def remind(message: Message, minutes: float, text: str) -> None:
    """Say something after some minutes."""
    await message.react("⏰")
    bot.start_soon(say_later, message, minutes, text)


async def say_later(message: Message, minutes: float, text: str) -> None:
    """Answer in time, while the bot goes on with other messages."""
    await trio.sleep(minutes * 60)
    await message.reply(text)


if __name__ == "__main__":
    bot.run()
