-- A device takes the messages that wait for it along, by a trigger instead of a foreign key, which was checked for every
-- message: who writes them has locked their devices, so none of these can go before it is done.

ALTER TABLE to_device_messages DROP CONSTRAINT to_device_messages_user_id_device_id_fkey;

CREATE FUNCTION forget_to_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM to_device_messages WHERE user_id = OLD.user_id AND device_id = OLD.device_id;
    RETURN OLD;
END $$;
CREATE TRIGGER devices_forget_to_device BEFORE DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION forget_to_device();
